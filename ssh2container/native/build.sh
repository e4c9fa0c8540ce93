#!/bin/bash
# Builds what is written in C. The only place that knows how: the installer, the tests, the fuzzing and the Makefile
# take it from here. Run, it builds; sourced, it gives the lists below.
#
#     build.sh module|init|launcher|helper|start|forwarder|sshd|connect|command OUTPUT [OPTION OF THE COMPILER…]
#
# module    the door to the kernel that Python imports, with the code of pid 1 in it
# init      pid 1 of every container
# launcher  the login shell's first program
# helper    the program that `verify` executes for set-user-ID probes
# start     the short way through the interpreter's start, for one interpreter alone
# forwarder the way out of private networks; needs libslirp
# sshd      what is preloaded into an sshd inside a container
# connect   the program of ssh2container-connect
# command   what the names of host_commands are inside a container

# shellcheck disable=SC2034,SC2054  # lists for those who source this; commas are the linker's
native=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
readonly native
readonly native_warnings=(-Wall -Wextra -Wconversion -Werror)
readonly native_hardening=(-O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2)
readonly native_init=("$native"/init/*.c)
readonly native_module=("$native/python/_syscall.c" "${native_init[@]}")
readonly native_launcher=("$native/launcher/launcher.c")
readonly native_bare=(-static -nostdlib -ffreestanding -fno-tree-loop-distribute-patterns "$native/launcher/bare.c")
readonly native_helper=("$native/verify/helper.c")
readonly native_sshd=("$native/inside/sshd.c")
readonly native_connect=("$native/inside/connect.c")
readonly native_command=("$native/inside/command.c")
readonly native_start=("$native/launcher/start.c")
readonly native_forwarder=("$native"/forwarder/*.c)
# The addresses inside, from the module that has them.
mapfile -t native_addresses < <(sed -n 's/^\([A-Z]*[46]\) = \("[0-9a-f.:]*"\)$/-D\1=\2/p' \
    "$native/../kernel/private_network.py")
readonly native_addresses

native_python() { /usr/bin/python3 -IBc "$1"; }

# native_build WHAT OUTPUT [OPTION…]: -static is the caller's to give, as not every host can link so.
native_build() {
    local what=$1 output=$2 include interpreter
    shift 2
    local flags=("${native_warnings[@]}" "${native_hardening[@]}")
    case $what in
        module)
            # On CPython's stable ABI: it serves every later Python of a machine too.
            include=$(native_python 'import sysconfig; print(sysconfig.get_path("include"))')
            flags+=(-fPIC -shared -fvisibility=hidden -ffunction-sections -Wl,-z,relro,-z,now,--gc-sections
                -isystem "$include" "${native_module[@]}")
            ;;
        start)
            mapfile -t interpreter < <(native_python '
import sys, sysconfig
print("-isystem" + sysconfig.get_path("include"))
print(f"-DPREFIX=\"{sys.prefix}\"")
print("-DSTDLIB=\"" + sysconfig.get_path("stdlib") + "\"")
print("-DDYNLOAD=\"" + sysconfig.get_config_var("DESTSHARED") + "\"")')
            flags+=(-fPIC -shared -Wl,-z,relro "${interpreter[@]}" "${native_start[@]}")
            ;;
        init) flags+=("${native_init[@]}") ;;
        launcher)
            flags+=("${native_launcher[@]}")
            case $("${CC:-gcc}" -dumpmachine) in
                x86_64-*) flags+=("${native_bare[@]}" -mstack-protector-guard=global) ;;
                aarch64-*) flags+=("${native_bare[@]}") ;; # its guard is a global one
            esac
            ;;
        sshd) flags+=(-fPIC -shared -fvisibility=hidden -Wl,-z,relro,-z,now "${native_sshd[@]}") ;;
        connect) flags+=(-fPIE -pie -Wl,-z,relro,-z,now "${native_connect[@]}") ;;
        command) flags+=("${native_command[@]}") ;;
        helper) flags+=("${native_helper[@]}") ;;
        forwarder)
            # Later libslirps have other names for what 4.7 has, and still what it has.
            flags+=(-fPIE -pie -Wl,-z,relro,-z,now -Wno-deprecated-declarations "${native_addresses[@]}"
                "${native_forwarder[@]}" -l:libslirp.so)
            ;;
        *)
            echo "build.sh: $what is none of: module init launcher helper start forwarder sshd connect command" >&2
            return 2
            ;;
    esac
    "${CC:-gcc}" "${flags[@]}" "$@" -o "$output"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    (($# >= 2)) || {
        echo 'usage: build.sh module|init|launcher|helper|start|forwarder|sshd|connect|command OUTPUT [OPTION OF THE COMPILER…]' >&2
        exit 2
    }
    native_build "$@"
fi
