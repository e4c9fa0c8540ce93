# shellcheck shell=bash disable=SC2034,SC2154  # names are shared between the files that install.sh sources
# Steps 6 and 13: versions side by side, of which one is current, and what makes two of them the same.

version() { sed -n 's/^__version__ *= *"\(.*\)"$/\1/p' "$source_tree/ssh2container/__init__.py"; }

# What goes into the version's directory, as one number: the sources, and what compiled code depends on.
content_digest() {
    {
        (cd "$source_tree" && find ssh2container libexec/requirements.txt libexec/code.sh -type f \
            ! -path '*/__pycache__/*' ! -name '*.so' -print0 | sort -z | xargs -0 sha256sum)
        # --dry-run comes here before there are these modules, or even Python.
        $python -ISBc 'import sys; print(sys.implementation.cache_tag)' 2>/dev/null || true
        $python -IBc 'import prctl, _prctl, yaml; print(prctl.__file__, _prctl.__file__, yaml.__file__)' 2>/dev/null || true
        # The header may be removed when the forwarder has been built, and may come later.
        [[ ! -e $network_header && ! -e $lib/current/forwarder ]] || echo 'with the forwarder'
    } | sha256sum | cut -c1-12
}

# The directory's name: the version; a version whose content has changed (a development tree) gets a local part.
# Once in a run: what is staged is what is switched to.
target=
digest=
choose_directory() {
    [[ -z $target ]] || return 0
    local name
    digest=$(content_digest)
    # What is in use stays in use, also where it is the second of its name.
    target=$(readlink -f "$lib/current" || true)
    if [[ $(cat "$target/DIGEST" 2>/dev/null) == "$digest" ]] && is_whole "$target"; then
        return
    fi
    name=$(version)
    # Once it has a local part it keeps it, though the plain name may be free again by now.
    if [[ $(cat "$lib/$name/DIGEST" 2>/dev/null) != "$digest" && (-d $lib/$name || -d $lib/$name+$digest) ]]; then
        name=$name+$digest
    fi
    if [[ -d $lib/$name ]] && ! is_whole "$lib/$name"; then
        tell "$lib/$name is damaged: another takes its place"
        name=$(version)+$digest.$(date +%s)
    fi
    target=$lib/$name
}

# is_whole DIRECTORY: whether every file of that version is as it was when it was made.
is_whole() { (cd "$1" && sha256sum --quiet --strict -c FILES) >/dev/null 2>&1; }

# is_staged: whether the version is complete already, so that nothing is needed to make it.
is_staged() {
    [[ -x $python ]] && $python -IBc 'import prctl, yaml' 2>/dev/null || return 1
    choose_directory
    [[ -d $target ]]
}

# ---- 6 -------------------------------------------------------------------------------------------------------------

switch_version() {
    if ! $dry_run; then build_bundle; fi
    if [[ $(readlink "$lib/current" 2>/dev/null) == "${target##*/}" ]]; then
        tell "already ${target##*/}"
        return
    fi
    act "switch $lib/current to ${target##*/}" switch_now "$lib" "${target##*/}"
}

switch_now() {
    ln -sfn "$2" "$1/.current$beside"
    mv -fT "$1/.current$beside" "$1/current"
}

# ---- 13 ------------------------------------------------------------------------------------------------------------

remove_unused_versions() {
    local directory current
    current=$(readlink "$lib/current" 2>/dev/null || true)
    for directory in "$lib"/*/; do
        directory=${directory%/}
        [[ -L $directory || ${directory##*/} == "$current" || ! -d $directory ]] && continue
        if version_in_use "$directory"; then
            tell "${directory##*/} is still in use; a later run removes it"
        else
            act "remove ${directory##*/}" rm -rf --one-file-system "$directory"
        fi
    done
    return 0
}

# A session maps and mounts files of its version's directory; the kernel knows, whatever the session says.
version_in_use() {
    local pattern=$1/
    grep -qsF -e "$pattern" /proc/[0-9]*/maps /proc/[0-9]*/mountinfo 2>/dev/null || started_before_switch
}

# A monitor that has imported all it needs holds nothing open: its age tells.
started_before_switch() {
    local switched process command
    switched=$(stat -c %Y "$lib/current" 2>/dev/null) || return 1
    for process in /proc/[0-9]*; do
        command=$(tr '\0' ' ' <"$process/cmdline" 2>/dev/null) || continue
        [[ $command == "$python "*/usr/bin/ssh2container* || $command == "$python "*"$lib/login"* ]] || continue
        (($(start_of "$process") <= switched)) && return 0
    done
    return 1
}

# start_of /proc/PID: when a process started, in seconds since 1970 (proc(5): stat field 22, after the name in brackets).
start_of() {
    local line fields booted
    line=$(cat "$1/stat" 2>/dev/null) || { echo 0; return; }
    read -r -a fields <<<"${line##*) }"
    booted=$(awk '$1 == "btime" { print $2 }' /proc/stat)
    echo $((booted + fields[19] / $(getconf CLK_TCK)))
}
