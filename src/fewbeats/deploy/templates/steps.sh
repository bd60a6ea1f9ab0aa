#!/bin/sh
# Steps that make this machine a fewbeats gateway, or end that. Each tells by itself whether it is
# done, and is then left alone, so that running this again after a failure or a power cut is safe.
#
#   sh steps.sh check [ROOT]   says what is done; changes nothing; ROOT: a mounted card's root
#   sh steps.sh run            does what is not done; as root
set -u
umask 022
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ORT_DISABLE_TELEMETRY=1 # ONNX Runtime would note an identity of this machine for its maker
mode=${1:-check} ROOT=${2:-} restart_due=no
case $0 in
  */steps.sh) payload=${0%/steps.sh} ;;
  *) payload=/nonexistent ;; # read from standard input: such steps need no files
esac
# Stands from before the first change until the service runs with all of them, also after a cut.
# Its first line is the program that ran before, its second the one that --undo goes back to.
mark=$ROOT/opt/fewbeats/restart-needed
export LC_ALL PATH ORT_DISABLE_TELEMETRY ROOT payload restart_due mark
cd /
if [ "$mode" = run ]; then
  exec 9<"$ROOT/opt"
  flock -n 9 || { echo "another set-up is at work here; wait for its end" >&2; exit 1; }
  if [ -d "$payload" ]; then
    (cd "$payload" && sha256sum --quiet --strict -c SHA256SUMS) >&2 ||
      { echo "the files that were brought are damaged; bring them again" >&2; exit 1; }
  fi
fi
current_before=$(readlink "$ROOT/opt/fewbeats/current") || current_before=
running_before=$(sed -n 1p "$mark" 2>/dev/null) || running_before=
back_to=$(sed -n 2p "$mark" 2>/dev/null) || back_to=
[ -n "$running_before" ] || running_before=$current_before
[ -n "$back_to" ] || back_to=$(readlink "$ROOT/opt/fewbeats/previous") || back_to=
export current_before running_before back_to

# What steps share; each step runs in a shell of its own that ends at the first failure.
common='
content_is() { # FILE SHA256
  [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -c 1-64)" = "$2" ]
}
put() { # SOURCE PLACE MODE OWNER: wholly there or not at all, also after a power cut
  cp "$1" "$2.partial"
  chmod "$3" "$2.partial"
  chown "$4" "$2.partial"
  sync "$2.partial"
  mv -fT "$2.partial" "$2"
  sync "$(dirname "$2")"
}
link() { # TARGET PLACE: switched in one step
  ln -sfn "$1" "$2.partial"
  mv -fT "$2.partial" "$2"
  sync "$(dirname "$2")"
}
gone() { # PATH
  [ ! -e "$1" ] && [ ! -L "$1" ]
}
booted() { # whether this is a running system, and no card or image
  [ -z "$ROOT" ] && [ -d /run/systemd/system ]
}
owner_is() { # FOLDER MODE: the service user in the passwd file of this root
  [ -d "$1" ] && [ "$(stat -c %a:%u "$1")" = "$2:$(id_of)" ]
}
id_of() {
  sed -n "s/^fewbeats:[^:]*:\([0-9]*\):.*/\1/p" "$ROOT/etc/passwd"
}
group_id() {
  sed -n "s/^fewbeats:[^:]*:\([0-9]*\):.*/\1/p" "$ROOT/etc/group"
}
note() { # [PROGRAM TO GO BACK TO]: on a card nothing runs, and without a program nothing ever did
  booted && [ -d "$ROOT/opt/fewbeats" ] || return 0
  printf "%s\n" "$running_before" "$@" >"$mark.partial"
  sync "$mark.partial"
  mv -fT "$mark.partial" "$mark"
  sync "$ROOT/opt/fewbeats"
}
as_service() {
  runuser -u fewbeats -- "$@"
}
'

say() { # STEP STATE
  printf '@fewbeats\t%s\t%s\n' "$1" "$2"
}
step() { # NAME DONE ACT [restart]
  if sh -euc "$common$2" >/dev/null 2>&1; then
    say "$1" already
    return
  fi
  if [ "$mode" != run ]; then
    [ -z "${4:-}" ] || restart_due=yes
    say "$1" todo
    return
  fi
  say "$1" doing
  if [ -n "${4:-}" ] && [ ! -s "$mark" ]; then
    sh -euc "${common}note" >&2 || { say "$1" failed; exit 1; }
  fi
  if sh -euc "$common$3" >&2 && sh -euc "$common$2" >/dev/null; then
    say "$1" "done"
  else
    say "$1" failed
    exit 1
  fi
}
