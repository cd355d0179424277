"""Has the template run this command line, and ends as it does. Imports little: it starts in 20 ms."""

import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("SOCKET")
    request = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
    socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(request)
    answer = connection.recv(4)
sys.exit(int.from_bytes(answer, "big") if answer else "the template process is gone")
