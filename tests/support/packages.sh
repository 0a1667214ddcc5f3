# The one list of Debian packages, shared by examples/quickstart and tests/run. Sourced, not run.
#   surcoat_install build        what compiling and running surcoat needs
#   surcoat_install build test   and what the tests compare it with

packages_build="g++ cmake ninja-build pkg-config git ca-certificates libarchive-dev libssl-dev libsqlite3-dev
  nlohmann-json3-dev libfmt-dev libcli11-dev libzstd-dev zlib1g-dev libisal-dev libseccomp-dev libcap-dev
  catch2 python3 curl"
packages_debian="mmdebstrap"
packages_test="ccache clang clang-tidy libclang-rt-14-dev skopeo umoci podman buildah crun runc erofs-utils attr acl
  xz-utils zstd bzip2 busybox-static mmdebstrap e2fsprogs sqlite3 libarchive-tools util-linux procps"

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else echo "surcoat: installing packages needs root or sudo; install by hand: $*" >&2; return 1
    fi
}

surcoat_install() {
    local missing="" group package
    for group in "$@"; do
        local list="packages_$group"
        for package in ${!list}; do
            dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
        done
    done
    [ -n "$missing" ] || return 0
    echo "installing:$missing"
    as_root apt-get update -q
    # --no-install-recommends: podman would bring a network stack that nothing here uses.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}
