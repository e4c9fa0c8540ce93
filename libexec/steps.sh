# shellcheck shell=bash disable=SC2034,SC2154  # names are shared between the files that install.sh sources
# The numbered steps of the installation. Each one finds out what is already so and changes only the rest, which is
# what makes a run after a kill complete the work and a second run change nothing.

readonly python=/usr/bin/python3
readonly needed_packages=(python3 python3-prctl python3-yaml python3-click python3-rich libseccomp2 patchelf)
readonly build_packages=(gcc libc6-dev libpython3-dev)
# For private networks alone: what cannot be had leaves the rest as it is.
readonly network_packages=(libslirp0)
readonly network_build_packages=(libslirp-dev)
readonly network_header=/usr/include/slirp/libslirp.h
extra_packages=()
readonly needed_modules=(prctl yaml click rich)
readonly oldest_python=3.11
readonly oldest_kernel=5.15

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

# ---- 1 -------------------------------------------------------------------------------------------------------------

look_at_the_system() {
    [[ $(uname -s) == Linux ]] || fail "this is $(uname -s): ssh2container needs Linux"
    local id='' version='' name=''
    if [[ -r /etc/os-release ]]; then
        id=$(. /etc/os-release && printf '%s' "${ID:-}")
        version=$(. /etc/os-release && printf '%s' "${VERSION_ID:-}")
        name=$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-}")
    fi
    case $id-$version in
        debian-12 | debian-13) tell "$name" ;;
        debian-* | ubuntu-*) warn "$name is untested (tested are Debian 12 and 13); the same packages are used" ;;
        *) warn "${name:-this system} is untested (tested are Debian 12 and 13); its packages have to be installed by hand" ;;
    esac
    check_architecture
    check_kernel
    check_python
    warn_about_dead_state
}

check_architecture() {
    case $(uname -m) in
        x86_64) ;;
        *) warn "$(uname -m) is untested (tested is x86_64)" ;;
    esac
}

check_kernel() {
    local kernel
    kernel=$(uname -r)
    if at_least "$kernel" "$oldest_kernel"; then
        tell "kernel $kernel"
    else
        fail "the kernel is $kernel, ssh2container needs $oldest_kernel" \
            'overlay mounts in user namespaces and the new mount calls are missing before it'
    fi
}

check_python() {
    local found
    if [[ ! -x $python ]]; then
        have apt-get || fail "there is no $python" "install Python $oldest_python or later as $python"
        tell "$python is not there yet; the next step installs it"
        return
    fi
    found=$($python -ISBc 'import sys; print("%d.%d.%d" % sys.version_info[:3])') || fail "$python does not run"
    at_least "$found" "$oldest_python" || fail "$python is $found, ssh2container needs $oldest_python" \
        "the login shell is pinned to $python: another Python elsewhere does not help" \
        'upgrade the distribution (Debian 12 and later have it)'
    tell "$python is $found"
}

# at_least FOUND NEEDED: compare versions.
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

have() { command -v "$1" >/dev/null 2>&1; }

warn_about_dead_state() {
    if have getenforce && [[ $(getenforce) == Enforcing ]]; then
        warn 'SELinux is enforcing: no policy module is shipped, and this is untested'
    fi
}

# ---- 2 -------------------------------------------------------------------------------------------------------------

install_packages() {
    local missing=()
    if have dpkg-query; then
        local package
        for package in "${needed_packages[@]}" "${extra_packages[@]}"; do
            is_installed "$package" || missing+=("$package")
        done
        if ! is_staged; then
            $python -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
            for package in "${build_packages[@]}"; do
                is_installed "$package" || missing+=("$package")
            done
        fi
        if ((${#missing[@]})); then
            act "apt-get install ${missing[*]}" apt_install "${missing[@]}"
        else
            tell 'all there'
        fi
        install_network_packages
        return
    fi
    local module
    for module in "${needed_modules[@]}"; do
        $python -Ic "import $module" 2>/dev/null || missing+=("$module")
    done
    ((${#missing[@]} == 0)) || fail "$python cannot import: ${missing[*]}" \
        'install them from this distribution (Debian calls them python3-NAME), and libseccomp, then run this again'
    tell 'all there (no dpkg here: looked for the Python modules)'
}

install_network_packages() {
    local missing=() package
    for package in "${network_packages[@]}"; do
        is_installed "$package" || missing+=("$package")
    done
    if ! is_staged; then
        for package in "${network_build_packages[@]}"; do
            is_installed "$package" || missing+=("$package")
        done
    fi
    ((${#missing[@]})) || return 0
    act "apt-get install ${missing[*]}" try_network_packages "${missing[@]}"
    # Whether there is a forwarder is a part of the version, which has to be chosen anew.
    target=
}

try_network_packages() { (apt_install "$@") || warn "without $*: policies with network_mode: private are refused"; }

is_installed() { [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == ii* ]]; }

apt_install() {
    local log
    log=$(mktemp)
    # RUNLEVEL=1: no service is started by its installation.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    local apt=(apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0)
    # A run killed in the middle of dpkg leaves it interrupted; apt-get refuses to work then.
    if [[ -n $(dpkg --audit 2>/dev/null) || -n $(find /var/lib/dpkg/updates -type f 2>/dev/null) ]]; then
        tell 'dpkg was interrupted: dpkg --configure -a'
        dpkg --configure -a >"$log" 2>&1 || { cat "$log" >&2; fail 'dpkg --configure -a failed'; }
    fi
    if ! "${apt[@]}" install --no-install-recommends "$@" >"$log" 2>&1; then
        tell 'apt-get update'
        "${apt[@]}" update >"$log" 2>&1 || { tail -n 5 "$log" >&2; warn 'apt-get update failed'; }
        "${apt[@]}" install --no-install-recommends "$@" >"$log" 2>&1 || {
            tail -n 20 "$log" >&2
            fail "apt-get could not install: $*" 'its last lines are above; install them by hand and run this again'
        }
    fi
    rm -f "$log"
}

# ---- 3 -------------------------------------------------------------------------------------------------------------

version() { sed -n 's/^__version__ *= *"\(.*\)"$/\1/p' "$source_tree/ssh2container/__init__.py"; }

# What goes into the version's directory, as one number: the sources, and what compiled code depends on.
content_digest() {
    {
        (cd "$source_tree" && find ssh2container libexec/requirements.txt libexec/steps.sh -type f \
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

stage_the_code() {
    choose_directory
    rm_stages
    if [[ -d $target ]]; then
        tell "$target is complete"
        return
    fi
    if $dry_run; then
        tell "would make $target"
        return
    fi
    make_directory "$lib"
    stage=$(mktemp -d "$lib/.stage-XXXXXX")
    tell 'copy the package'
    tar -C "$source_tree" --exclude=__pycache__ --exclude='*.pyc' --exclude='*.so' --owner=0 --group=0 --mode='u=rwX,go=rX' \
        -cf - ssh2container | tar -xf - -C "$stage"
    if ! take_wheels_from_installed; then
        tell 'pyseccomp from the Python package index, pinned by hash'
        fetch_wheels
    fi
    tell 'link the modules of the distribution that a session imports'
    link_modules
    # What a test run has built in a source tree is not copied: it may be older than its sources.
    tell 'build the door to the kernel'
    build_extension
    tell 'make the mount points of sessions'
    $python -IBc 'import sys; sys.path.insert(0, sys.argv[1])
from ssh2container.admin.install import skeleton
skeleton.build(sys.argv[1] + "/skeleton")' "$stage"
    tell 'build pid 1, the launcher and the helper of verify'
    build_programs
    tell 'build the forwarder of private networks'
    build_forwarder
    tell 'build what leads into containers'
    build_inside
    tell "build the short way through Python's start"
    build_short_start
    tell 'compile to bytecode'
    compile_bytecode
    printf '%s\n' "$digest" >"$stage/DIGEST"
    (cd "$stage" && find . -type f ! -name FILES -print0 | sort -z | xargs -0 sha256sum) >"$stage/FILES"
    chmod 755 "$stage"
    sync -f "$stage"
    mv -T "$stage" "$target"
    tell "$target"
}

rm_stages() {
    local stale
    for stale in "$lib"/.stage-*; do
        [[ -d $stale ]] && act "remove the half-made $stale" rm -rf --one-file-system "$stale"
    done
    return 0
}

# take_wheels_from_installed: upgrades and rollbacks need no index; an installed version that has the pinned release,
# its files as they were when pip had compared them with the pin, is as good.
take_wheels_from_installed() {
    local version pinned installed files
    [[ -z $wheels_from_site ]] || return 1
    pinned=$(sed -n 's/^pyseccomp==\([^ ]*\) .*/\1/p' "$source_tree/libexec/requirements.txt")
    for installed in "$lib"/current "$lib"/*/; do
        version=$(readlink -f "$installed")
        [[ -d $version/pyseccomp-$pinned.dist-info && -r $version/FILES ]] || continue
        files=$(grep -E '  \./pyseccomp(\.py|-[^/]*\.dist-info/.*)$' "$version/FILES") || continue
        (cd "$version" && sha256sum --quiet -c - <<<"$files") >/dev/null 2>&1 || continue
        tell "pyseccomp from ${version##*/}, which is installed"
        cp -a "$version/pyseccomp.py" "$version/pyseccomp-$pinned.dist-info" "$stage/"
        return 0
    done
    return 1
}

fetch_wheels() {
    local source=() log
    log=$(mktemp)
    [[ -z $wheels_from_site ]] || source=(--no-index --find-links "$wheels_from_site")
    if ! $python -m pip install --disable-pip-version-check --no-input --no-cache-dir --no-deps --no-compile \
        --root-user-action=ignore --only-binary=:all: --require-hashes --target "$stage" "${source[@]}" \
        -r "$source_tree/libexec/requirements.txt" >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -rf "$log" "$stage"
        fail 'pip could not fetch pyseccomp (its last lines are above)' \
            'If this machine has no way to a Python package index: on one that has,' \
            '    pip download --no-deps --require-hashes -d wheels -r libexec/requirements.txt' \
            'copy the directory here and run:  ./install.sh --wheels wheels' \
            'A mirror or a proxy is set as for every pip: PIP_INDEX_URL, HTTPS_PROXY or /etc/pip.conf.'
    fi
    rm -f "$log"
}

# A session runs with -I -S and sees no dist-packages: only these are there for it.
link_modules() {
    local name path
    $python -IBc '
import os, prctl, _prctl, yaml
for module in (prctl, _prctl):
    print(os.path.basename(module.__file__), module.__file__)
print("yaml", os.path.dirname(yaml.__file__))
' | while read -r name path; do
        ln -s "$path" "$stage/$name"
    done
}

# build WHAT OUTPUT [OPTION…]: the program or library WHAT of ssh2container/native/build.sh, of what was staged.
build() { "$stage/ssh2container/native/build.sh" "$@"; }

# must_build WHAT OUTPUT: the same, or the end of the installation.
must_build() {
    local log
    log=$(mktemp)
    build "$@" >"$log" 2>&1 || {
        tail -n 10 "$log" >&2
        fail "the C compiler refused $1 (its last lines are above)" "needed are: ${build_packages[*]}"
    }
    rm -f "$log"
}

build_extension() {
    local module=$stage/ssh2container/kernel/_syscall.abi3.so
    must_build module "$module"
    chmod 644 "$module"
}

build_programs() {
    build_init
    build_static launcher launcher 'the script itself becomes the login shell'
    build_static helper verify-helper 'verify skips the probes that need it'
}

# pid 1 of every container. It is started with an empty environment, so nothing acts on its loader where it needs one.
build_init() {
    if ! build init "$stage/init" -static 2>/dev/null; then
        warn 'pid 1 cannot be linked statically here: each container takes more memory'
        must_build init "$stage/init"
    fi
    # Unreadable for others: so the kernel lets nobody but root of the host look into the process.
    chmod 711 "$stage/init"
}

# Programs without libraries, for those who have no use for them if they were linked (their comments say why).
# build_static WHAT NAME WITHOUT
build_static() {
    if ! build "$1" "$stage/$2" -static 2>/dev/null; then
        rm -f "$stage/$2"
        warn "$1 cannot be linked statically here: $3"
        return
    fi
    chmod 755 "$stage/$2"
}

# It reads what hostile programs send: as with pid 1, the kernel lets nobody but root look into it.
build_forwarder() {
    local log
    log=$(mktemp)
    if ! build forwarder "$stage/forwarder" 2>"$log"; then
        rm -f "$stage/forwarder"
        [[ ! -e $network_header ]] || tail -n 10 "$log" >&2
        warn 'the forwarder cannot be built here: policies with network_mode: private are refused;' \
            "it needs ${network_build_packages[*]}; install that and run this again"
    else
        chmod 711 "$stage/forwarder"
    fi
    rm -f "$log"
}

# Both run inside containers, with the libraries of the host: in images, where those are injected along with them.
build_inside() {
    must_build sshd "$stage/inside-sshd.so"
    must_build connect "$stage/connect"
    chmod 644 "$stage/inside-sshd.so"
    chmod 755 "$stage/connect"
}

# A library for the interpreter as it is now: it finds out itself when that has become another, and does nothing then.
build_short_start() {
    local option
    if ! build start "$stage/start.so" 2>/dev/null; then
        rm -f "$stage/start.so"
        warn 'the start of the interpreter cannot be shortened here: a login takes about 4 ms longer'
        return
    fi
    # Again, with what only the first one can tell.
    option=$($python -IBc 'import sys; sys.path.insert(0, sys.argv[1])
from ssh2container.admin.install import written
print(written.option(sys.argv[1] + "/start.so"))' "$stage" 2>/dev/null) || option=
    [[ -z $option ]] || build start "$stage/start.so" "$option" || build start "$stage/start.so"
    chmod 644 "$stage/start.so"
}

# The modules of a session in one file (ssh2container/admin/install/bundle.py). It names its files' final places, so it is
# made there; without it a login imports them one by one.
build_bundle() {
    local bundle
    bundle=$target/$($python -ISBc 'import sys; print(f"{sys.implementation.cache_tag}-{sys.hexversion:x}.bundle")')
    [[ -e $bundle ]] && return
    act "bundle a session's modules" make_bundle
}

make_bundle() {
    $python -ISB "$target/ssh2container/admin/install/bundle.py" "$target" >/dev/null ||
        fail "a session's modules cannot be imported" 'its last lines are above'
}

# The bytecode is checked by the time and size of its source: hash-based bytecode, checked or not, measured no faster,
# because the source is looked at in either case. What a login runs is the bundle; this is for everything else.
compile_bytecode() {
    local of_package=("$stage/ssh2container" "$stage/pyseccomp.py")
    $python -IB -m compileall -q --invalidation-mode timestamp -s "$stage" -p "$target" "${of_package[@]}" ||
        fail 'the code does not compile' "with $($python --version)"
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
        multi-user.target.wants/ssh2container-runtime.service timers.target.wants/ssh2container-image-update.timer; do
        link=/etc/systemd/system/$unit
        if [[ ! -L $link ]]; then
            record "$link"
            act "enable ${unit##*/}" link_unit "$link"
        fi
    done
    if systemd_runs; then
        systemctl daemon-reload
        for unit in ssh2container-compile.path ssh2container-record.socket ssh2container-image-update.timer; do
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
