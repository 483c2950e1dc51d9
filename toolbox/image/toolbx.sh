#!/usr/bin/env bash
# Make an image fit for toolbx (and distrobox), by what its images/*/README.md asks under "Image requirements".
#
#   ROOT  prefix of the files that are changed, for tests
set -euo pipefail

root=${ROOT:-}
fail() {
    echo "error: toolbx.sh: $*" >&2
    exit 1
}

for tool in getent id ln mkdir passwd readlink rm rmdir sleep test touch unlink useradd usermod sudo; do
    command -v "$tool" >/dev/null || fail "no command '$tool', which toolbx needs"
done

# toolbx adds the host's user, whose id mostly is 1000; Ubuntu's image has given it away.
if getent passwd ubuntu >/dev/null; then
    userdel --remove ubuntu 2>/dev/null || userdel ubuntu
fi
owner=$(getent passwd 1000 || true)
[[ -z $owner ]] || fail "user id 1000 belongs to '${owner%%:*}', expected it to be free"

# podman resolves `--group-add render` in the image, and stops where there is no such group.
groupadd --force --gid 105 render
getent group video >/dev/null || groupadd --force --gid 39 video

# sudo for the user that toolbx adds, who has no password.
group=wheel
getent group wheel >/dev/null || group=sudo
mkdir -p "$root/etc/sudoers.d"
printf '%%%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$group" >"$root/etc/sudoers.d/toolbox"
chmod 0440 "$root/etc/sudoers.d/toolbox"

# The container's own name is answered without DNS: sudo would wait for it.
if ! grep -Eq '^hosts:.*\bmyhostname\b' "$root/etc/nsswitch.conf"; then
    sed --follow-symlinks -Ei 's/^(hosts:\s*files)\b/\1 myhostname/' "$root/etc/nsswitch.conf"
fi
grep -Eq '^hosts:.*\bmyhostname\b' "$root/etc/nsswitch.conf" ||
    fail "$root/etc/nsswitch.conf: expected a line 'hosts: files ...' to put myhostname into"

mkdir -p "$root/etc/krb5.conf.d" "$root/usr/share/empty"
rm -f "$root/etc/machine-id" # toolbx makes it a link to the host's
touch "$root/etc/machine-id"
