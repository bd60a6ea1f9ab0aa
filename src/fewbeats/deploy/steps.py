"""The steps that make a Debian a gateway, in order, and those that end it again.

Their shell text runs on the gateway, with the functions of ``templates/steps.sh``. Values in it
are release names, digests and file names that were checked before, and are quoted all the same.
"""

from dataclasses import dataclass
from shlex import quote

from fewbeats.deploy.payload import BUNDLE, CONFIG, KEYS, RULES, UNIT, WHEELS, Payload
from fewbeats.deploy.step import Step
from fewbeats.deploy.wheels import WANTED

ROOM_FACTOR = 5
"""Wheels unpacked and compiled, the wheels themselves, and two releases side by side."""
_RULES_PLACE = f"/etc/udev/rules.d/{RULES}"
_UNIT_PLACE = f"/etc/systemd/system/{UNIT}"
_ENABLED = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
SETUP_ENABLED = "/etc/systemd/system/multi-user.target.wants/fewbeats-setup.service"
SETUP_PLACE = "/etc/systemd/system/fewbeats-setup.service"
SETUP_FOLDER = "/opt/fewbeats/setup"
_RELOAD = "if booted; then systemctl daemon-reload; fi"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a gateway is to become.

    Attributes:
        payload: what is brought to it.
        release: name of the program's folder.
        version: of fewbeats.
        installer: file name of pip's wheel.
        room_bytes: how much space it takes.
        replace_config: write the configuration over one that is there.
        replace_rule: name the sensor's port anew, over a rule that is there.
    """

    payload: Payload
    release: str
    version: str
    installer: str
    room_bytes: int
    replace_config: bool
    replace_rule: bool


def steps_for(wanted: Wanted) -> tuple[Step, ...]:
    """Every step of provisioning, in order."""
    payload = wanted.payload
    release = f"/opt/fewbeats/releases/{quote(wanted.release)}"
    steps = [
        Step(
            "room",
            "A full disk half-way leaves a gateway that cannot be set up.",
            f"look for {wanted.room_bytes / 1e6:.0f} MB of free space and for the system's tools",
            f"""
            free() {{ df -Pk "$ROOT/opt" | awk 'NR == 2 {{ print $4 }}'; }}
            [ -d "$ROOT{release}" ] || [ "$(free)" -ge {wanted.room_bytes // 1024} ]
            for tool in usr/bin/python3 usr/sbin/runuser usr/sbin/useradd usr/bin/sha256sum; do
              [ -e "$ROOT/$tool" ] || [ -L "$ROOT/$tool" ] || [ -e "$ROOT/${{tool#usr/}}" ]
            done
            """,
            """
            echo "too little space in /opt, or python3, runuser or useradd is missing"
            exit 1
            """,
        ),
        Step(
            "user",
            "What watches a patient runs with as few rights as it can.",
            "make the system user 'fewbeats', who cannot log in and may open serial ports",
            """
            grep -q '^fewbeats:' "$ROOT/etc/passwd"
            grep -q '^fewbeats:' "$ROOT/etc/group"
            grep -Eq '^dialout:.*[:,]fewbeats(,|$)' "$ROOT/etc/group"
            """,
            """
            grep -q '^dialout:' /etc/group || groupadd --system dialout
            grep -q '^fewbeats:' /etc/passwd || useradd --system --user-group --no-create-home \\
              --home-dir /var/lib/fewbeats --shell /usr/sbin/nologin fewbeats
            usermod --append --groups dialout fewbeats
            """,
            restart=True,
        ),
        Step(
            "folders",
            "Bundles and patients' heads are the service's own; keys and settings are root's.",
            "make /var/lib/fewbeats for the service alone, and /etc/fewbeats",
            """
            owner_is "$ROOT/var/lib/fewbeats" 750
            owner_is "$ROOT/var/lib/fewbeats/patients" 750
            [ -d "$ROOT/etc/fewbeats/keys" ]
            """,
            """
            mkdir -p /opt/fewbeats/releases /etc/fewbeats/keys /var/lib/fewbeats/patients
            chmod 755 /opt/fewbeats /opt/fewbeats/releases /etc/fewbeats /etc/fewbeats/keys
            chown -Rh fewbeats:fewbeats /var/lib/fewbeats
            chmod 750 /var/lib/fewbeats /var/lib/fewbeats/patients
            sync /etc /etc/fewbeats /opt /var/lib /var/lib/fewbeats
            """,
        ),
    ]
    if payload.keys:
        steps.append(_keys_step(payload))
    steps += [
        _config_step(wanted),
        Step(
            "program",
            "fewbeats has packages of its own, apart from the system's.",
            f"install fewbeats {wanted.version} to {release}, from wheels alone, without a network",
            f'[ -f "$ROOT{release}/whole" ]',
            f"""
            new={release}
            rm -rf "$new"
            mkdir -p /opt/fewbeats/releases
            /usr/bin/python3 -m venv --without-pip "$new"
            "$new/bin/python3" "$payload/{WHEELS}/"{quote(wanted.installer)}/pip install --quiet \\
              --no-index --only-binary=:all: --find-links "$payload/{WHEELS}" --no-cache-dir \\
              --disable-pip-version-check --no-input --root-user-action=ignore \\
              {quote(f"{WANTED}=={wanted.version}")}
            sync -f "$new"
            : >"$new/whole"
            sync "$new/whole" "$new" /opt/fewbeats/releases
            """,
        ),
        Step(
            "switch",
            "A program that fails its bundle's golden windows here must not become the one in use.",
            "prove the program on the bundle, then make it /opt/fewbeats/current; keep the old one",
            f"""
            [ "$(readlink "$ROOT/opt/fewbeats/current")" = releases/{quote(wanted.release)} ]
            """,
            f"""
            set -- /var/lib/fewbeats/current/bundle.fewbeats
            [ -e "$1" ] || set -- "$payload/{BUNDLE}"
            for slot in a b; do
              set -- "$@" /var/lib/fewbeats/slots/$slot/bundle.fewbeats
            done
            as_service {release}/bin/python3 -m fewbeats.deploy.proof "$@"
            cd /opt/fewbeats
            # What runs is kept: after a cut, current may be a program that has never run.
            old=$running_before
            [ "$old" != releases/{quote(wanted.release)} ] || old=$current_before
            [ -z "$old" ] || link "$old" previous
            link releases/{quote(wanted.release)} current
            for each in releases/*; do
              [ "$each" = releases/{quote(wanted.release)} ] || [ "$each" = "$old" ] ||
                rm -rf "$each"
            done
            """,
            restart=True,
        ),
        Step(
            "bundle",
            "Without a bundle nothing is judged.",
            f"install the first bundle, {payload.bundle_title}"
            if payload.bundle_title
            else "keep the bundle that is there; 'fewbeats flash' brings another",
            '[ -L "$ROOT/var/lib/fewbeats/current" ]',
            f"""
            as_service /opt/fewbeats/current/bin/fewbeats gateway install - <"$payload/{BUNDLE}"
            """,
        ),
        _port_step(wanted),
        Step(
            "service",
            "The watch starts with the machine, and again whenever it ends.",
            f"install and enable the service, hardened, with a watchdog ({_UNIT_PLACE})",
            f"""
            content_is "$ROOT{_UNIT_PLACE}" {payload.digest(UNIT)}
            [ -L "$ROOT{_ENABLED}" ]
            """,
            f"""
            mkdir -p {_ENABLED.rpartition("/")[0]}
            put "$payload/{UNIT}" {_UNIT_PLACE} 644 root:root
            link ../{UNIT} {_ENABLED}
            """,
            restart=True,
        ),
        RUNNING,
    ]
    return tuple(steps)


def _keys_step(payload: Payload) -> Step:
    """Trust keys; those that are there already stay."""
    done = [
        f'content_is "$ROOT/etc/fewbeats/keys/"{quote(name)} {digest}'
        for name, digest in payload.keys.items()
    ]
    act = [
        f'put "$payload/{KEYS}/"{quote(name)} /etc/fewbeats/keys/{quote(name)} 644 root:root'
        for name in payload.keys
    ]
    names = ", ".join(name.removesuffix(".pub") for name in payload.keys)
    return Step(
        "keys",
        "A gateway takes only bundles that are signed with a key that it trusts.",
        f"trust {names} (/etc/fewbeats/keys)",
        "\n".join(done),
        "\n".join(act),
        restart=True,
    )


def _port_step(wanted: Wanted) -> Step:
    """The sensor's port: a rule that pins one sensor stays unless another is asked for."""
    name = f"name the sensor's port /dev/fewbeats-sensor ({_RULES_PLACE})"
    if wanted.replace_rule:
        what, done = name, f'content_is "$ROOT{_RULES_PLACE}" {wanted.payload.digest(RULES)}'
    else:
        what, done = f"{name}, unless it has been named", f'[ -f "$ROOT{_RULES_PLACE}" ]'
    return Step(
        "port",
        "A sensor's port changes its number; its name must not.",
        what,
        done,
        f"""
        mkdir -p /etc/udev/rules.d
        put "$payload/{RULES}" {_RULES_PLACE} 644 root:root
        """,
        restart=True,
    )


def _config_step(wanted: Wanted) -> Step:
    """Settings: a technician's stay unless others are asked for; the service may read them."""
    place, digest = f"/etc/fewbeats/{CONFIG}", wanted.payload.digest(CONFIG)
    if wanted.replace_config:
        what, kept = f"write {place} as given", f'content_is "$ROOT{place}" {digest}'
    else:
        what, kept = f"write {place}, unless there is one", f'[ -f "$ROOT{place}" ]'
    return Step(
        "settings",
        "The service must be told where the sensor is and whose bundles count.",
        what,
        f"""
        {kept}
        [ "$(stat -c %a:%g "$ROOT{place}")" = "640:$(group_id)" ]
        """,
        f"""
        {{ {kept}; }} || put "$payload/{CONFIG}" {place} 640 root:fewbeats
        chown root:fewbeats {place}
        chmod 640 {place}
        """,
        restart=True,
    )


FIRST_START = Step(
    "first-start",
    "What the card was prepared with is not needed any more.",
    "remove the set-up's own files and unit",
    f'gone "$ROOT{SETUP_PLACE}" && gone "$ROOT{SETUP_ENABLED}"',
    f"rm -f {SETUP_ENABLED} {SETUP_PLACE}\nrm -rf {SETUP_FOLDER}",
)
"""The last step on a card, whose first start does the rest."""

EARLIER = Step(
    "earlier",
    "Without a whole program before this one, going back would end the watch.",
    "look for the program before the present one",
    """
    [ -n "$back_to" ] && [ -f "$ROOT/opt/fewbeats/$back_to/whole" ]
    [ "$back_to" != "$current_before" ] || [ "$back_to" != "$running_before" ]
    """,
    """
    echo "there is no whole program before this one"
    exit 1
    """,
)
BACK = Step(
    "back",
    "A program that does worse than the one before must be easy to leave.",
    "make the program before this one /opt/fewbeats/current again",
    '[ "$(readlink "$ROOT/opt/fewbeats/current")" = "$back_to" ]',
    """
    note "$back_to"
    cd "$ROOT/opt/fewbeats"
    link "$current_before" previous
    link "$back_to" current
    """,
    restart=True,
)
RUNNING = Step(
    "running",
    "What was changed counts from the service's next start.",
    "start the service, or start it again if something changed; without systemd: nothing",
    f"""
    ! booted || {{ systemctl -q is-active {UNIT} && gone "$mark" && [ "$restart_due" = no ]; }}
    """,
    f"""
    systemctl daemon-reload
    udevadm control --reload
    udevadm trigger --subsystem-match=tty --action=add
    udevadm settle --timeout=10 || :
    if systemctl restart {UNIT}; then
      rm -f "$mark"
      sync "$ROOT/opt/fewbeats"
      exit
    fi
    # The new program does not start: the one before goes on watching.
    if [ -f "$ROOT/opt/fewbeats/$running_before/whole" ]; then
      link "$running_before" "$ROOT/opt/fewbeats/current"
    fi
    systemctl restart {UNIT} || :
    systemctl --no-pager --lines=5 status {UNIT} || :
    exit 1
    """,
)
GOING_BACK = (EARLIER, BACK, RUNNING)


def undoing_steps(purge: bool) -> tuple[Step, ...]:
    """Every step of deprovisioning, in order; they work on a mounted card too.

    Args:
        purge: remove the patients' data, the bundles, the keys and the settings as well.
    """
    units = f'"$ROOT{_ENABLED}" "$ROOT{_UNIT_PLACE}" "$ROOT{SETUP_ENABLED}" "$ROOT{SETUP_PLACE}"'
    home, settings = '"$ROOT/var/lib/fewbeats"', '"$ROOT/etc/fewbeats"'
    if purge:
        data = Step(
            "data",
            "Patients' data must not stay on a machine that is given away.",
            "remove bundles, patients' heads, keys and settings for good",
            f"gone {home} && gone {settings}",
            f"rm -rf {home} {settings}",
        )
    else:
        data = Step(
            "data",
            "Patients' data without an owner would fall to the next user with that number.",
            "keep bundles, patients' heads, keys and settings, for root's eyes alone",
            f'gone {home} || [ "$(stat -c %a:%u {home})" = 700:0 ]',
            f"""
            chown -Rh 0:0 {home}
            chmod 700 {home}
            if [ -d {settings} ]; then chown -Rh 0:0 {settings}; fi
            """,
        )
    return (
        Step(
            "service",
            "Nothing may be removed while it is used.",
            "stop and remove the service",
            f'for each in {units}; do gone "$each"; done',
            f"""
            if booted; then systemctl disable --now {UNIT} || :; fi
            rm -f {units}
            {_RELOAD}
            """,
        ),
        Step(
            "port",
            "The rule names a port for a service that is gone.",
            f"remove {_RULES_PLACE}",
            f'gone "$ROOT{_RULES_PLACE}"',
            f"""
            rm -f "$ROOT{_RULES_PLACE}"
            if booted; then udevadm control --reload; fi
            """,
        ),
        Step(
            "program",
            "It takes 200 MB.",
            "remove /opt/fewbeats",
            'gone "$ROOT/opt/fewbeats"',
            'rm -rf "$ROOT/opt/fewbeats"',
        ),
        data,
        Step(
            "user",
            "A user that nothing needs is a door that nobody watches.",
            "remove the system user 'fewbeats'",
            """
            if grep -q '^fewbeats:' "$ROOT/etc/passwd"; then exit 1; fi
            if grep -q '^fewbeats:' "$ROOT/etc/group"; then exit 1; fi
            """,
            """
            if grep -q '^fewbeats:' "$ROOT/etc/passwd"; then
              userdel ${ROOT:+--prefix "$ROOT"} fewbeats
            fi
            if grep -q '^fewbeats:' "$ROOT/etc/group"; then
              groupdel ${ROOT:+--prefix "$ROOT"} fewbeats
            fi
            """,
        ),
    )
