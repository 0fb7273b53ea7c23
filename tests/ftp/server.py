"""pyftpdlib as the tests need it: port, plain|explicit, user, password, folder, certificate, key, file for what was asked."""

import logging
import sys

from pyftpdlib.authorizers import AuthenticationFailed, DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

port, tls, user, password, folder, certificate, key, asked = sys.argv[1:]
logging.disable(logging.CRITICAL)


class Authorizer(DummyAuthorizer):
    def validate_authentication(self, username, password, handler):
        with open(asked, "a") as file:
            file.write(f"{username} {password}\n")
        super().validate_authentication(username, password, handler)


authorizer = Authorizer()
authorizer.add_user(user, password, folder, perm="elradfmwMT")
handler = FTPHandler
if tls == "explicit":
    handler = TLS_FTPHandler
    handler.certfile = certificate
    handler.keyfile = key
    handler.tls_control_required = True
handler.authorizer = authorizer
handler.banner = "pyftpdlib here."
handler.auth_failed_timeout = 0
FTPServer(("127.0.0.1", int(port)), handler).serve_forever(timeout=0.2)
