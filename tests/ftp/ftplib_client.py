"""One piece of work by Python's ftplib: port, tls, passive, user, password, account or -, certificate, what to do."""

import ftplib
import os
import ssl
import sys

port, tls, mode, user, password, account, certificate, work = sys.argv[1:]
account = "" if account == "-" else account
context = ssl.create_default_context(cafile=certificate)


class Implicit(ftplib.FTP_TLS):
    """ftplib has AUTH TLS only: here the handshake comes first."""

    _sock = None

    @property
    def sock(self):
        return self._sock

    @sock.setter
    def sock(self, value):
        if value is not None and not isinstance(value, ssl.SSLSocket):
            value = self.context.wrap_socket(value, server_hostname=self.host)
        self._sock = value


if tls == "plain":
    ftp = ftplib.FTP(timeout=30)
elif tls == "explicit":
    ftp = ftplib.FTP_TLS(context=context, timeout=30)
else:
    ftp = Implicit(context=context, timeout=30)
ftp.connect("127.0.0.1", int(port))
if tls == "explicit":
    ftp.auth()
if tls == "plain":
    ftp.login(user, password, account)
else:
    ftp.login(user, password, account, secure=False)
    ftp.prot_p()
ftp.set_pasv(mode == "passive")


def put(name, rest=None):
    with open("up.bin", "rb") as file:
        if rest:
            file.seek(rest)
        ftp.storbinary(f"STOR {name}", file, rest=rest)


def get(name, to, rest=None):
    with open(to, "ab" if rest else "wb") as file:
        ftp.retrbinary(f"RETR {name}", file.write, rest=rest)


if work == "list":
    print(ftp.nlst())
elif work == "all":
    put("a.bin")
    # An upload that was cut, and goes on where it was.
    with open("half.bin", "rb") as file:
        ftp.storbinary("STOR c.bin", file)
    put("c.bin", rest=os.path.getsize("half.bin"))
    names = ftp.nlst()
    lines = []
    ftp.retrlines("LIST", lines.append)
    with open("list.txt", "w") as file:
        file.write("\n".join(names + lines))
    ftp.voidcmd("TYPE I")
    assert ftp.size("a.bin") == ftp.size("c.bin") == os.path.getsize("up.bin")
    get("a.bin", "down.bin")
    get("c.bin", "resumed.bin", rest=os.path.getsize("resumed.bin"))
    ftp.rename("a.bin", "b.bin")
    ftp.delete("c.bin")
elif work == "abort":
    ftp.voidcmd("TYPE I")
    data = ftp.transfercmd("RETR large.bin")
    assert len(data.recv(1000)) > 0
    answer = ftp.abort()
    data.close()
    assert answer[:3] in ("225", "226", "426"), answer
    # Some hosts answer ABOR with two replies.
    ftp.sock.settimeout(1)
    try:
        print(ftp.getmultiline())
    except (TimeoutError, ssl.SSLError):
        pass
    ftp.sock.settimeout(30)
    ftp.file = ftp.sock.makefile("r", encoding=ftp.encoding)
    print(ftp.pwd())
    print(ftp.nlst())
ftp.quit()
