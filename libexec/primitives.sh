# shellcheck shell=bash disable=SC2034,SC2154  # names are shared between the files that install.sh sources
# What install.sh and --uninstall are made of: telling, recording, and changes that are not made twice.
# Sourced by install.sh, which sets source_tree and dry_run.

readonly lib=/usr/lib/ssh2container
readonly share=/usr/share/ssh2container
readonly configuration=/etc/ssh2container
readonly data=/var/lib/ssh2container
readonly logs=/var/log/ssh2container
readonly drop_in=/etc/ssh/sshd_config.d/10-ssh2container.conf
readonly state=$data/install
readonly control=/usr/bin/ssh2containerctl
readonly beside=.ssh2container-new

tell() { printf '    %s\n' "$*"; }
warn() { printf '    ! %s\n' "$*"; }

fail() {
    printf 'install.sh: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '    %s\n' "$line" >&2; done
    exit 1
}

# act TEXT COMMAND...: say what is done and do it; with --dry-run only say it.
act() {
    local text=$1
    shift
    if $dry_run; then
        tell "would $text"
    else
        tell "$text"
        "$@"
    fi
}

# run_steps TITLE FUNCTION [TITLE FUNCTION]...: number the steps, print each one as it begins.
run_steps() {
    local total=$(($# / 2)) number=0
    while (($#)); do
        number=$((number + 1))
        printf '[%d/%d] %s\n' "$number" "$total" "$1"
        "$2"
        shift 2
    done
}

# record PATH: remember a file before it is made, so that --uninstall finds it even after a kill.
record() {
    $dry_run && return
    [[ -d $state ]] || install -d -m 755 "$data" "$state"
    grep -qxF -e "$1" "$state/files" 2>/dev/null || printf '%s\n' "$1" >>"$state/files"
}

# put SOURCE TARGET [MODE]: a file of ours, in one step, and only if it is not already so.
put() {
    local from=$1 to=$2 mode=${3:-644}
    record "$to"
    if [[ ! -L $to ]] && cmp -s "$from" "$to" && [[ $(stat -c '%a %u %g' "$to") == "$mode 0 0" ]]; then
        return
    fi
    act "install $to" put_now "$from" "$to" "$mode"
}

put_now() {
    make_directory "$(dirname "$2")"
    install -o root -g root -m "$3" "$1" "$2$beside"
    mv -fT "$2$beside" "$2"
}

# make_directory PATH [MODE]: with its parents, remembering those that were not there.
make_directory() {
    local path=$1 mode=${2:-755}
    if [[ -d $path ]]; then return; fi
    make_directory "$(dirname "$path")"
    record "$path/"
    $dry_run || install -d -o root -g root -m "$mode" "$path"
}

# put_tree DIRECTORY TARGET: every file below DIRECTORY.
put_tree() {
    local file
    [[ -d $1 ]] || return 0
    while IFS= read -r -d '' file; do
        put "$1/$file" "$2/$file"
    done < <(cd "$1" && find . -type f ! -path '*/__pycache__/*' -printf '%P\0' | sort -z)
}

digest_of() { sha256sum -- "$1" | cut -d' ' -f1; }

recorded_digest() { awk -v path="$1" '$2 == path { found = $1 } END { print found }' "$state/shipped" 2>/dev/null || true; }

remember_digest() {
    $dry_run && return
    [[ $(recorded_digest "$2") == "$1" ]] && return
    { grep -v -F -e " $2" "$state/shipped" 2>/dev/null || true; printf '%s %s\n' "$1" "$2"; } >"$state/shipped$beside"
    mv -fT "$state/shipped$beside" "$state/shipped"
}

# put_configuration SOURCE TARGET: a file that belongs to the administrator once it is there. It is replaced only
# while it is still what we shipped; a changed one stays and ours is laid beside it as .new; a removed one stays removed.
put_configuration() {
    local from=$1 to=$2 ours shipped
    ours=$(digest_of "$from")
    shipped=$(recorded_digest "$to")
    record "$to"
    if [[ ! -e $to ]]; then
        if [[ -n $shipped && $shipped == "$ours" ]]; then
            tell "$to was removed by the administrator and stays removed"
            return
        fi
        act "install $to" put_now "$from" "$to" 644
    elif [[ $(digest_of "$to") == "$ours" ]]; then
        :
    elif [[ -n $shipped && $(digest_of "$to") == "$shipped" ]]; then
        act "update $to (unchanged since it was installed)" put_now "$from" "$to" 644
    elif [[ $shipped == "$ours" ]]; then
        return
    else
        record "$to.new"
        act "keep $to, which was changed here; ours is $to.new" put_now "$from" "$to.new" 644
    fi
    remember_digest "$ours" "$to"
}

systemd_runs() { [[ -d /run/systemd/system ]]; }
