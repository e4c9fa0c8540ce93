# shellcheck shell=bash disable=SC2034,SC2154  # names are shared between the files that install.sh sources
# The numbered steps of the installation. Each one finds out what is already so and changes only the rest, which is
# what makes a run after a kill complete the work and a second run change nothing.

install_everything() {
    run_steps \
        'look at the system' look_at_the_system \
        'install system packages' install_packages \
        'stage the code' stage_the_code \
        'make directories and the group' make_directories_and_group \
        'install configuration and shared files' install_configuration \
        'switch to this version' switch_version \
        'install the programs, manual pages and completions' install_programs \
        'install the units' install_units \
        'install the AppArmor profile' install_apparmor_profile \
        'compile the policies' compile_policies \
        'make what users need below /run' make_runtime \
        'place the sshd drop-in' place_drop_in \
        'remove versions that nobody uses' remove_unused_versions \
        'examine the result' examine
}

# ---- 4 -------------------------------------------------------------------------------------------------------------

make_directories_and_group() {
    if getent group ssh2container >/dev/null; then
        tell 'group ssh2container is there'
    else
        act 'add the system group ssh2container' groupadd --system ssh2container
    fi
    if getent passwd ssh2container-record >/dev/null; then
        tell 'user ssh2container-record is there'
    else
        act 'add the system user ssh2container-record, who keeps recordings' \
            useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin ssh2container-record
    fi
    set_aside_ids
    make_directory "$data"
    make_directory "$data/images"
    make_directory "$data/compiled"
    make_directory "$data/enrolled" 700
    make_directory "$logs"
    make_directory "$logs/recordings" 750
    if [[ -d $logs/recordings && $(stat -c %U "$logs/recordings") != ssh2container-record ]]; then
        act "give $logs/recordings to ssh2container-record" chown ssh2container-record: "$logs/recordings"
    fi
    make_directory "$configuration"
    make_directory "$configuration/profiles"
    make_directory "$configuration/groups"
    make_directory "$configuration/users"
    make_directory "$configuration/tests"
    make_directory /run/ssh2container
}

# ---- 5 -------------------------------------------------------------------------------------------------------------

# set_aside_ids: the host ids of images that have users of their own (userns_mode: range).
set_aside_ids() {
    if [[ -z $id_base ]] && grep -q '^ssh2container:' /etc/subuid /etc/subgid 2>/dev/null; then
        tell 'a range of ids is set aside'
        return
    fi
    act 'set aside a range of ids for images with users of their own' "$python" -IBc '
import sys
sys.path.insert(0, sys.argv[1])
from ssh2container.admin.accounts.ranges import SetAside
change = SetAside(int(sys.argv[2]) if sys.argv[2] else None)
if not change.done():
    change.do()' "$target" "$id_base"
}

install_configuration() {
    local file
    for file in "$source_tree"/etc/*.yaml; do
        [[ -f $file ]] && put_configuration "$file" "$configuration/${file##*/}"
    done
    put_tree "$source_tree/etc/profiles" "$share/profiles"
    put_tree "$source_tree/etc/seccomp" "$share/seccomp"
    put_tree "$source_tree/etc/monitoring" "$share/monitoring"
    put "$source_tree/LICENSE" "$share/LICENSE"
}

# ---- 7 -------------------------------------------------------------------------------------------------------------

install_programs() {
    if [[ -x $target/launcher ]]; then
        put "$source_tree/bin/ssh2container" "$lib/login" 755
        put "$target/launcher" /usr/bin/ssh2container 755
    else
        put "$source_tree/bin/ssh2container" /usr/bin/ssh2container 755
    fi
    put "$source_tree/bin/ssh2containerctl" "$control" 755
    put "$source_tree/bin/ssh2container-session" /usr/bin/ssh2container-session 755
    local page
    for page in "$source_tree"/docs/man/*.[1-8]; do
        put "$page" "/usr/share/man/man${page##*.}/${page##*/}"
    done
    if $dry_run && [[ ! -x $control ]]; then
        tell 'would install completions for bash, zsh and fish and the policy schema'
        return
    fi
    generate completion_of_bash /usr/share/bash-completion/completions/ssh2containerctl
    generate completion_of_zsh /usr/share/zsh/vendor-completions/_ssh2containerctl
    generate completion_of_fish /usr/share/fish/vendor_completions.d/ssh2containerctl.fish
    generate policy_schema "$share/policy.schema.json"
    generate site_schema "$share/site.schema.json"
    if $etc_shells; then
        add_to_etc_shells
    fi
}

completion_of_bash() { _SSH2CONTAINERCTL_COMPLETE=bash_source "$control"; }
completion_of_zsh() { _SSH2CONTAINERCTL_COMPLETE=zsh_source "$control"; }
completion_of_fish() { _SSH2CONTAINERCTL_COMPLETE=fish_source "$control"; }
policy_schema() { "$control" schema; }
site_schema() { "$control" schema --site; }

# generate FUNCTION TARGET: a file that the installed program writes about itself.
generate() {
    local made
    made=$(mktemp)
    "$1" >"$made" || { rm -f "$made"; fail "$control could not write $2"; }
    put "$made" "$2"
    rm -f "$made"
}

add_to_etc_shells() {
    grep -qxF /usr/bin/ssh2container /etc/shells 2>/dev/null ||
        act 'add /usr/bin/ssh2container to /etc/shells' add_shell_now
}

add_shell_now() {
    { cat /etc/shells 2>/dev/null; printf '%s\n' /usr/bin/ssh2container; } >"/etc/shells$beside"
    chmod 644 "/etc/shells$beside"
    mv -fT "/etc/shells$beside" /etc/shells
}

# ---- 8 -------------------------------------------------------------------------------------------------------------

install_units() {
    put "$source_tree/systemd/sysusers.d/ssh2container.conf" /usr/lib/sysusers.d/ssh2container.conf
    put "$source_tree/systemd/tmpfiles.d/ssh2container.conf" /usr/lib/tmpfiles.d/ssh2container.conf
    put_tree "$source_tree/systemd/system" /usr/lib/systemd/system
    local unit link
    for unit in multi-user.target.wants/ssh2container-compile.path sockets.target.wants/ssh2container-record.socket \
        sockets.target.wants/ssh2container-commands.socket \
        multi-user.target.wants/ssh2container-runtime.service timers.target.wants/ssh2container-image-update.timer; do
        link=/etc/systemd/system/$unit
        if [[ ! -L $link ]]; then
            record "$link"
            act "enable ${unit##*/}" link_unit "$link"
        fi
    done
    if systemd_runs; then
        systemctl daemon-reload
        for unit in ssh2container-compile.path ssh2container-record.socket ssh2container-commands.socket \
            ssh2container-image-update.timer; do
            systemctl is-active --quiet "$unit" || act "start $unit" systemctl start "$unit"
        done
    else
        tell 'systemd does not run here: after a change of a policy run "ssh2containerctl compile",'
        tell 'after a boot "ssh2containerctl enable --runtime", every night "ssh2containerctl image update --all" and "image verify"'
    fi
}

link_unit() {
    make_directory "$(dirname "$1")"
    ln -sfn "/usr/lib/systemd/system/${1##*/}" "$1"
}

# ---- 9 -------------------------------------------------------------------------------------------------------------

install_apparmor_profile() {
    if [[ ! -e /etc/apparmor.d/abi/4.0 ]]; then
        tell 'not needed: this AppArmor (if any) does not know user namespaces'
        return
    fi
    local before
    before=$(digest_of /etc/apparmor.d/ssh2container 2>/dev/null || true)
    put_configuration "$source_tree/etc/apparmor.d/ssh2container" /etc/apparmor.d/ssh2container
    if [[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) == Y ]] && have apparmor_parser; then
        if [[ $(digest_of /etc/apparmor.d/ssh2container 2>/dev/null || true) != "$before" ]]; then
            act 'load the profile' apparmor_parser -r /etc/apparmor.d/ssh2container
        fi
    fi
}

# ---- 10 ------------------------------------------------------------------------------------------------------------

compile_policies() {
    if $dry_run; then
        tell "would run $control compile"
        return
    fi
    local status=0
    "$control" compile --no-sshd 2>&1 | sed -e '/^$/d' -e 's/^/    /' || status=$?
    case $status in
        0) ;;
        1) warn 'some policies are not valid (above): their users are refused until they are corrected' ;;
        *) fail 'the policies could not be compiled' ;;
    esac
}

# ---- 11 ------------------------------------------------------------------------------------------------------------

# What a boot makes, too; an upgrade may need more of it than the version before.
make_runtime() {
    if $dry_run; then
        tell "would run $control enable --runtime"
        return
    fi
    "$control" enable --runtime 2>&1 | sed 's/^/    /' ||
        warn 'some users lack something that they need to log in (above)'
}

# ---- 12 ------------------------------------------------------------------------------------------------------------

place_drop_in() {
    if $dry_run; then
        tell "would write $drop_in if sshd -t accepts it"
        return
    fi
    put "$source_tree/etc/sshd_config.d/10-ssh2container.conf" "$share/sshd_config.d/10-ssh2container.conf"
    if [[ ! -x /usr/sbin/sshd ]]; then
        tell 'no sshd is installed here; once it is:  ssh2containerctl sshd-config --write'
        return
    fi
    record "$drop_in"
    local options=(--write)
    # Logins are refused by an sshd that tells of no drop-in: one from before there was a mark, without ForceCommand,
    # must not stay in force.
    if [[ -f $drop_in ]] && ! grep -qE 'SSH2CONTAINER_SSHD|^ *ForceCommand' "$drop_in"; then options+=(--reload); fi
    if $reload_sshd; then options+=(--reload); fi
    "$control" sshd-config "${options[@]}" | sed 's/^/    /'
}

# ---- 14 ------------------------------------------------------------------------------------------------------------

examine() {
    if $dry_run; then
        tell "would run $control doctor"
        return
    fi
    local status=0
    "$control" doctor --host || status=$?
    case $status in
        0 | 1) ;;
        *) fail 'installed, but the doctor found a problem (above)' "after mending it:  $control doctor" ;;
    esac
}
