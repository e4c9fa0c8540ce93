#!/bin/bash
# Installs ssh2container, shows it at work, or removes it. Run it as root from the source tree.
# The work is in libexec/: primitives.sh (changes that are not made twice), steps.sh with needs.sh, code.sh and
# versions.sh, uninstall.sh, demo.

set -euo pipefail
shopt -s inherit_errexit
umask 022
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

usage() {
    cat <<'TEXT'
usage: ./install.sh [--etc-shells] [--id-base=N] [--reload-sshd] [--wheels DIR] [--dry-run]
       ./install.sh --demo [--clean]
       ./install.sh --uninstall [--restore-shell] [--kill] [--purge] [--dry-run]

Without options: install or upgrade. A second run changes nothing; a run that was interrupted is completed by the next.

  --demo           install, then create a contained user and show ssh, scp, sftp and rsync at work
  --demo --clean   remove everything that --demo made, but not ssh2container itself
  --uninstall      list the users who have the login shell, set it to /usr/sbin/nologin, remove the program
  --restore-shell  with --uninstall: restore the login shell that they had before
  --kill           with --uninstall: end running sessions
  --purge          with --uninstall: remove policies, images and logs too
  --id-base=N      the first of 65536 host ids to set aside for images with users of their own (default: the first
                   free ones from 1879113728; give the same on all hosts of a fleet)
  --etc-shells     add /usr/bin/ssh2container to /etc/shells (lets users run chsh; see docs/installation.md)
  --reload-sshd    make a running sshd read the drop-in (otherwise only the command is printed)
  --wheels DIR     take pyseccomp from this directory, not from the Python package index
  --dry-run        say what would be done and do nothing
  --help           this text

Exit status: 0 done, 1 a step failed (its reason is the last line), 2 wrong usage.
TEXT
}

wrong_usage() {
    printf 'install.sh: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

source_tree=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
mode=install
clean=false dry_run=false purge=false restore_shell=false kill_sessions=false etc_shells=false reload_sshd=false id_base=
wheels_from_site=

while (($#)); do
    case $1 in
        --demo) mode=demo ;;
        --uninstall) mode=uninstall ;;
        --clean) clean=true ;;
        --purge) purge=true ;;
        --restore-shell) restore_shell=true ;;
        --kill) kill_sessions=true ;;
        --etc-shells) etc_shells=true ;;
        --id-base=*)
            id_base=${1#*=}
            [[ $id_base =~ ^[1-9][0-9]{4,9}$ ]] || wrong_usage '--id-base needs the first of 65536 ids'
            ;;
        --reload-sshd) reload_sshd=true ;;
        --dry-run) dry_run=true ;;
        --wheels)
            (($# > 1)) || wrong_usage '--wheels needs a directory'
            wheels_from_site=$(cd -- "$2" 2>/dev/null && pwd -P) || wrong_usage "--wheels: no directory $2"
            shift
            ;;
        --help | -h) usage; exit 0 ;;
        *) wrong_usage "unknown option $1" ;;
    esac
    shift
done
if $clean && [[ $mode != demo ]]; then wrong_usage '--clean goes with --demo'; fi
if $purge && [[ $mode != uninstall ]]; then wrong_usage '--purge goes with --uninstall'; fi
if $kill_sessions && [[ $mode != uninstall ]]; then wrong_usage '--kill goes with --uninstall'; fi
if $restore_shell && [[ $mode != uninstall ]]; then wrong_usage '--restore-shell goes with --uninstall'; fi
if $dry_run && [[ $mode == demo ]]; then wrong_usage '--dry-run does not go with --demo'; fi

# shellcheck source=libexec/primitives.sh
. "$source_tree/libexec/primitives.sh"
# shellcheck source=libexec/needs.sh
. "$source_tree/libexec/needs.sh"
# shellcheck source=libexec/versions.sh
. "$source_tree/libexec/versions.sh"
# shellcheck source=libexec/code.sh
. "$source_tree/libexec/code.sh"
# shellcheck source=libexec/steps.sh
. "$source_tree/libexec/steps.sh"
# shellcheck source=libexec/uninstall.sh
. "$source_tree/libexec/uninstall.sh"

((EUID == 0)) || fail 'this has to be run as root' "sudo $0 ..."

# One at a time. Children do not inherit the lock: a demo's sshd must not hold it.
exec {lock}>/run/ssh2container-install.lock
flock -n "$lock" || fail 'another install.sh is running'

case $mode in
    install)
        install_everything
        $dry_run || printf 'ssh2container %s is installed. Next:  ssh2containerctl enable USER\n' "$(version)"
        ;;
    demo)
        if ! $clean; then
            # Before the rest: the drop-in is placed only where there is an sshd to accept it.
            extra_packages=(openssh-server openssh-client rsync)
            install_everything
        fi
        demo=("$python" -IB "$source_tree/libexec/demo.py")
        if $clean; then demo+=(--clean); fi
        exec "${demo[@]}" {lock}>&-
        ;;
    uninstall)
        uninstall_everything
        ;;
esac
