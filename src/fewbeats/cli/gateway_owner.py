"""Root at work on a gateway: what it writes must be the service's own."""

import os
import pwd
from pathlib import Path


def become_owner(folder: Path) -> None:
    """Go on as the user whose folder it is, if this is root.

    The service runs as a user of its own and must be able to replace every file of its state; a
    file that root left there would stop it at the worst moment.
    """
    if os.geteuid() != 0 or not folder.is_dir():
        return
    owner = folder.stat()
    if owner.st_uid == 0:
        return
    try:
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:  # a card of another machine, whose users are not known here
        os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
