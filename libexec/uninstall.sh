# shellcheck shell=bash disable=SC2034,SC2154  # names are shared between the files that install.sh sources
# --uninstall [--restore-shell] [--kill] [--purge]: give the users back, then take away every file that was recorded.

uninstall_everything() {
    is_there || { printf 'ssh2container is not installed here\n'; return; }
    run_steps \
        'list the affected users' list_users \
        'set their login shells' set_shells \
        'take the sshd drop-in away' remove_drop_in \
        'stop the units and unload the AppArmor profile' stop_units \
        'remove the files' remove_files \
        'remove the code' remove_code \
        'remove the data' remove_data
    if $keep_closed; then
        printf '%s\n' "Kept: $drop_in and the group ssh2container." \
            'sshd gives a user with /usr/sbin/nologin still port forwarding and internal-sftp; these two close both.' \
            "Once these users are removed:  rm $drop_in && groupdel ssh2container"
    fi
}

# is_there: whether anything is left to do; after an --uninstall without --purge that is the data, and the shells that
# it has not given back.
is_there() {
    [[ -d $state || -d $lib ]] && return
    $restore_shell && [[ -s $closed_users ]] && return
    $purge && [[ -d $configuration || -d $data || -d $logs ]]
}

# Whom an --uninstall has left with nologin, until --restore-shell, another installation or --purge: who was disabled
# before it is not in it, and stays so.
readonly closed_users=$data/enrolled/closed-by-uninstall
keep_closed=false
affected=()

list_users() {
    local name shell live
    mapfile -t affected < <(getent passwd | awk -F: '$7 == "/usr/bin/ssh2container" { print $1 }')
    if $restore_shell && [[ -s $closed_users ]]; then
        while IFS= read -r name; do
            [[ $(getent passwd "$name" | cut -d: -f7) == /usr/sbin/nologin ]] && affected+=("$name")
        done <"$closed_users"
    fi
    if ((${#affected[@]} == 0)); then
        tell 'none: nobody has /usr/bin/ssh2container as login shell'
    fi
    for name in "${affected[@]}"; do
        shell=$(new_shell "$name")
        live=$(live_sessions "$name")
        tell "$name: login shell becomes $shell"
        ((live == 0)) || $kill_sessions ||
            warn "$name has $live sessions that go on until they end; --kill ends them (ssh2containerctl goes away now)"
    done
    # Users who were disabled before still need the drop-in: their shell is nologin, their membership has stayed.
    local members
    members=$(getent group ssh2container | cut -d: -f4)
    if [[ -n $members ]] && ! { $restore_shell && all_affected "$members"; }; then keep_closed=true; fi
}

# live_sessions NAME: how many sessions and shared containers the user has, by the kernel's word.
live_sessions() {
    "$control" sessions --json "$1" 2>/dev/null | grep -c '"monitor":' || true
}

# all_affected NAMES: whether each of the comma-separated names gets another shell now.
all_affected() {
    local name
    for name in ${1//,/ }; do
        [[ " ${affected[*]} " == *" $name "* ]] || return 1
        [[ $(new_shell "$name") != /usr/sbin/nologin ]] || return 1
    done
}

# new_shell NAME: nologin, or with --restore-shell the one that "enable" recorded.
new_shell() {
    local file shell=''
    if $restore_shell; then
        file=$data/enrolled/$(id -u "$1").json
        [[ -r $file ]] && grep -q "\"name\": \"$1\"" "$file" && shell=$(sed -n 's/.*"shell": "\(\/[^"]*\)".*/\1/p' "$file")
    fi
    printf '%s' "${shell:-/usr/sbin/nologin}"
}

set_shells() {
    local name
    for name in "${affected[@]}"; do
        if grep -q "^$name:" /etc/passwd; then
            # Before: a run that is killed in between is completed by the next.
            $dry_run || [[ $(new_shell "$name") != /usr/sbin/nologin ]] || remember_closed "$name"
            act "usermod --shell $(new_shell "$name") $name" usermod --shell "$(new_shell "$name")" "$name"
            $dry_run || [[ $(new_shell "$name") == /usr/sbin/nologin ]] || forget_closed "$name"
        else
            warn "$name is not in /etc/passwd: set the login shell where the account is kept"
        fi
        if $kill_sessions && (($(live_sessions "$name"))); then
            act "end the sessions of $name" "$control" kill --user "$name"
        fi
    done
    if [[ -n $(ls -A "$data/quotas" 2>/dev/null) ]]; then
        act 'take the quotas from homes' "$control" compile --only-limits ||
            warn "a quota is left: $data/quotas names its home"
    fi
    if [[ -n $(ls -A "$data/networks" 2>/dev/null) ]]; then
        # Interfaces that were moved in come back.
        act 'take the networks of users away' "$control" compile --only-limits ||
            warn "a network is left: $data/networks names whose"
    fi
    for name in "$data"/bridges/*.json; do
        [[ -e $name ]] || continue
        name=${name##*/}
        act "remove the network ${name%.json}" "$control" network remove --force "${name%.json}" ||
            warn "the network ${name%.json} is left"
    done
    if grep -qsxF /usr/bin/ssh2container /etc/shells; then
        act 'remove /usr/bin/ssh2container from /etc/shells' sed -i '\|^/usr/bin/ssh2container$|d' /etc/shells
    fi
}

# remember_closed NAME: write down that --uninstall gives NAME nologin. forget_closed NAME: strike that out.
remember_closed() {
    [[ -d ${closed_users%/*} ]] || return 0
    grep -qsxF -e "$1" "$closed_users" || printf '%s\n' "$1" >>"$closed_users"
}

forget_closed() {
    [[ ! -e $closed_users ]] || sed -i "/^$1\$/d" "$closed_users"
}

remove_drop_in() {
    if $keep_closed; then
        tell "kept: it closes what /usr/sbin/nologin leaves open (see below)"
        # Of it the group's block: the others name whom policies admitted, and a program that goes.
        if grep -qs '^# digest: ' "$drop_in" && [[ -f $share/sshd_config.d/10-ssh2container.conf ]]; then
            act 'leave the block for the group ssh2container' \
                cp "$share/sshd_config.d/10-ssh2container.conf" "$drop_in"
        fi
        return
    fi
    if [[ -e $drop_in || -e $drop_in.new ]]; then
        act "remove $drop_in" rm -f "$drop_in" "$drop_in.new"
        if systemd_runs && systemctl is-active --quiet ssh.service; then
            act 'reload ssh.service' systemctl reload ssh.service
        elif ! $dry_run; then
            tell 'reload sshd for it to take effect'
        fi
    fi
    if getent group ssh2container >/dev/null; then
        act 'remove the group ssh2container' groupdel ssh2container
    fi
}

# What users' jobs are given to systemd or cron as, from schedule in policies.
readonly job_files=(/etc/systemd/system/ssh2container-schedule-*.{timer,service}
    /etc/systemd/system/timers.target.d/50-ssh2container-schedule-*.conf /etc/cron.d/ssh2container-schedule-*)

stop_units() {
    if systemd_runs; then
        local entry
        for entry in "${job_files[@]}"; do
            [[ $entry == *.timer && -e $entry ]] || continue
            act "stop ${entry##*/}" systemctl stop "${entry##*/}"
        done
        act 'stop the units' systemctl stop ssh2container-compile.path ssh2container-record.socket \
            ssh2container-record.service ssh2container-image-update.timer ssh2container-runtime.service
        # Versions before had none.
        if [[ -e /usr/lib/systemd/system/ssh2container-commands.socket ]]; then
            act 'stop what runs commands of the host' systemctl stop ssh2container-commands.socket \
                ssh2container-commands.service
        fi
        # Versions before had none, and whoever wants it has enabled it himself.
        if [[ -e /usr/lib/systemd/system/ssh2container-metrics.timer ]]; then
            act 'disable ssh2container-metrics.timer' systemctl disable --now ssh2container-metrics.timer
        fi
    fi
    if [[ -e /etc/apparmor.d/ssh2container ]] && have apparmor_parser &&
        [[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) == Y ]]; then
        act 'unload the AppArmor profile' apparmor_parser -R /etc/apparmor.d/ssh2container
    fi
}

remove_files() {
    local path removed=0
    [[ -r $state/files ]] || return 0
    while IFS= read -r path; do
        case $path in
            "$drop_in"*) continue ;;
            "$configuration"/* | "$data"/* | "$logs"/*) continue ;;
            */) ;;
            *)
                [[ -e $path || -L $path || -e $path$beside ]] || continue
                removed=$((removed + 1))
                $dry_run && { tell "would remove $path"; continue; }
                rm -f "$path" "$path$beside"
                ;;
        esac
    done <"$state/files"
    tell "$removed files"
    # Directories that we made go if nothing else is in them, the deepest first.
    while IFS= read -r path; do
        $dry_run || rmdir --ignore-fail-on-non-empty "$path" 2>/dev/null || true
    done < <(grep '/$' "$state/files" | sort -r)
    local entry
    for entry in /etc/tmpfiles.d/ssh2container-*.conf; do
        [[ -e $entry ]] && act "remove $entry" rm -f "$entry"
    done
    # Limits of users' slices, from user_limits and site_limits.
    for entry in /etc/systemd/system/user{,-[0-9]*}.slice.d/50-ssh2container.conf; do
        [[ -e $entry ]] || continue
        act "remove $entry" rm -f "$entry"
        $dry_run || rmdir --ignore-fail-on-non-empty "${entry%/*}"
    done
    # Jobs of policies.
    for entry in "${job_files[@]}"; do
        [[ -e $entry ]] || continue
        act "remove $entry" rm -f "$entry"
    done
    $dry_run || rmdir --ignore-fail-on-non-empty /etc/systemd/system/timers.target.d 2>/dev/null || true
    # The images under ids of users' own; a session that runs keeps its view.
    while IFS= read -r path; do
        act "unmount $path" umount -l "$path"
    done < <(awk '$5 ~ "^/run/ssh2container/" { print $5 }' /proc/self/mountinfo | sort -r)
    if [[ -d /run/ssh2container ]]; then
        act 'remove /run/ssh2container' rm -rf --one-file-system /run/ssh2container
    fi
    systemd_runs && act 'systemctl daemon-reload' systemctl daemon-reload
    return 0
}

remove_code() {
    [[ -d $lib ]] && act "remove $lib" rm -rf --one-file-system "$lib"
    return 0
}

remove_data() {
    local directory
    if ! $purge; then
        for directory in "$configuration" "$data" "$logs"; do
            [[ -d $directory ]] && tell "kept: $directory (--purge removes it)"
        done
        if [[ -s $closed_users ]]; then
            tell "$(wc -l <"$closed_users") users have nologin now; their former shells are kept for --uninstall --restore-shell"
        fi
        # What was installed is gone; who was enrolled, images and compiled policies stay.
        $dry_run || rm -rf "$state"
        return 0
    fi
    if getent passwd ssh2container-record >/dev/null; then
        act 'remove the user ssh2container-record' userdel ssh2container-record
    fi
    local range
    # The users' grants are those of the same range.
    if range=$(sed -n 's/^ssh2container\(:[0-9]*:[0-9]*\)$/\1/p' /etc/subuid 2>/dev/null) && [[ -n $range ]]; then
        act 'give the range of ids back' sed -i "/${range}\$/d" /etc/subuid /etc/subgid
    fi
    # Last: a run that is killed before is completed by the next, which goes by them.
    for directory in "$configuration" "$logs" "$data"; do
        [[ -d $directory ]] && act "remove $directory" rm -rf --one-file-system "$directory"
    done
    tell 'homes of users and directories named in policies are not touched'
}
