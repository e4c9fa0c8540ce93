# shellcheck shell=bash disable=SC2034,SC2154  # names are shared between the files that install.sh sources
# Step 3: the code of a version, with what is compiled of it, in a directory that is complete or not there.

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
    build_command
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

# Runs inside, in any image: without libraries, if it can be linked so.
build_command() {
    if ! build command "$stage/host-command" -static 2>/dev/null; then
        warn 'the program behind host_commands cannot be linked statically here: it runs on the image host alone'
        must_build command "$stage/host-command"
    fi
    chmod 755 "$stage/host-command"
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
