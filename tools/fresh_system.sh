# Systems that have nothing but their base packages, for the scripts here; sourced by them.
# shellcheck shell=bash

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# unshared ARGUMENT...: starts the script again in a mount and process namespace of its own: whatever
# happens, no mount and no process is left behind.
unshared() {
  [ "${DROIDFLOW_UNSHARED:-}" != yes ] || return 0
  [ "$(id -u)" -eq 0 ] || fail "want root for debootstrap and chroot, have user $(id -un)"
  DROIDFLOW_UNSHARED=yes exec unshare --mount --pid --fork --kill-child "$0" "$@"
}

# make_system SUITE FOLDER [MIRROR]: bookworm, trixie or noble from the mirror that apt uses here, if no
# other is named. Proxies and certificates are this machine's.
make_system() {
  local suite=$1 folder=$2 mirror=${3:-} components script=
  case $suite in
    bookworm | trixie) components=main ;;
    noble)
      components=main,universe
      script=gutsy # which Ubuntu's own scripts are links to; Debian's debootstrap lacks the newest names
      ;;
    *) fail "want bookworm, trixie or noble, have $suite" ;;
  esac
  if [ -z "$mirror" ]; then
    # shellcheck disable=SC2016  # apt's own substitution
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | sed -n 1p)
    [ -n "$mirror" ] || fail 'apt names no mirror here: give one with --mirror'
  fi
  debootstrap --variant=minbase --components="$components" "$suite" "$folder" "$mirror" \
    ${script:+"$script"}
  mount -t proc proc "$folder/proc"
  cp -L /etc/resolv.conf /etc/hosts "$folder/etc/"
  # How this machine's apt reaches its mirror, and how strict it is with dates.
  apt-config dump | grep -E '^Acquire::(https?|Check-)' >"$folder/etc/apt/apt.conf.d/99host" || true
  if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    mkdir -p "$folder/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
  fi
}

# inside FOLDER COMMAND [ARGUMENT...]: a shell command in that system.
inside() {
  local folder=$1 command=$2
  shift 2
  env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
    chroot "$folder" sh -euc "$command" sh "$@"
}

# remove_system FOLDER
remove_system() {
  ! mountpoint -q "$1/proc" || umount "$1/proc"
  rm -rf --one-file-system "$1"
}
