# shellcheck shell=bash disable=SC2034,SC2154  # names are shared between the files that install.sh sources
# Steps 1 and 2: what the machine has, and the packages that it lacks.

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
