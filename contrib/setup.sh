#!/bin/sh
# Puts in place what cooper needs on this machine, and says each thing it does:
#   - newuidmap and newgidmap, which give an ordinary user more than one ID in a user namespace
#   - a range of 65536 subordinate user and group IDs for the calling user (root too)
#   - a storage.conf that names the overlay driver, if podman or buildah is there and would use another store than cooper
#   - a static busybox, the shell of the example that `make demo` builds
#
#   sh contrib/setup.sh                for the calling user
#   sh contrib/setup.sh --user alice   for another user
#   sh contrib/setup.sh --tests        also the programs that the tests and the benchmark hold cooper against (Debian, Ubuntu)
#   sh contrib/setup.sh --check        change nothing: only say what is missing
#
# It may be run again at any time. Root does the work directly, others through sudo; without sudo it only checks.
# Exit status: 0 everything is in place; 1 something is missing, and the last lines say what to type; 2 wrong usage.
set -eu

subid_count=65536
subid_first=100000
with_tests=no
check_only=no
user=$(id -un)

say() { printf 'setup: %s\n' "$*"; }
complain() { printf 'setup: %s\n' "$*" >&2; }

usage() {
	complain "usage: sh contrib/setup.sh [--tests] [--check] [--user NAME]"
	exit 2
}

while [ $# -gt 0 ]; do
	case $1 in
	--tests) with_tests=yes ;;
	--check) check_only=yes ;;
	--user)
		[ $# -gt 1 ] || usage
		shift
		user=$1
		;;
	*) usage ;;
	esac
	shift
done

if ! uid=$(id -u "$user" 2>/dev/null); then
	complain "there is no user $user: make one first (useradd --create-home $user)"
	exit 1
fi

# --- what may be changed, and how -------------------------------------------------------------------------------------

sudo=
missing=no
asked_to_check=$check_only
if [ "$(id -u)" -ne 0 ] && [ "$check_only" = no ]; then
	if command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
		sudo=sudo
	else
		check_only=yes
		no_root="this user is not root and there is no sudo to ask: only checking"
	fi
fi

# as_root DESCRIPTION COMMAND... runs the command with root's rights, or says what root has to type.
as_root() {
	description=$1
	shift
	if [ "$check_only" = yes ]; then
		missing=yes
		[ -z "${no_root-}" ] || { complain "$no_root"; no_root=; }
		complain "missing: $description. As root, type:"
		complain "    $*"
		return 0
	fi
	say "$description"
	$sudo "$@"
}

# --- packages ---------------------------------------------------------------------------------------------------------

packages=
want() { packages="$packages $1"; }

find_manager() {
	for manager in apt-get dnf apk pacman; do
		if command -v "$manager" >/dev/null 2>&1; then
			return
		fi
	done
	manager=none
}

# package WHAT prints the name of the package that holds it under this machine's package manager.
package() {
	case $1/$manager in
	newuidmap/apt-get) echo uidmap ;;
	newuidmap/dnf) echo shadow-utils ;;
	newuidmap/apk) echo shadow-uidmap ;;
	newuidmap/pacman) echo shadow ;;
	busybox/apt-get | busybox/apk) echo busybox-static ;;
	busybox/*) echo busybox ;;
	esac
}

# installed PACKAGE asks apt's data base; only the list of --tests is looked up this way.
installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

want_packages() {
	if ! command -v newuidmap >/dev/null 2>&1 || ! command -v newgidmap >/dev/null 2>&1; then
		want "$(package newuidmap)"
	fi
	if ! command -v busybox >/dev/null 2>&1 && ! command -v busybox.static >/dev/null 2>&1; then
		want "$(package busybox)"
	fi
	if [ "$with_tests" = no ]; then
		return 0
	fi
	if [ "$manager" != apt-get ]; then
		say "the programs that cooper is tested against are installed on Debian and Ubuntu only; tests that need them will say so"
		return 0
	fi
	for p in podman buildah skopeo umoci docker-registry containerd mmdebstrap crun runc fuse-overlayfs attr acl libcap2-bin pigz e2fsprogs xfsprogs \
		btrfs-progs git \
		ca-certificates openssh-client passwd mount qemu-user-static; do
		installed "$p" || want "$p"
	done
}

# Some of the tests' packages would start a service (docker-registry listens on every address). policy-rc.d is Debian's
# own way to say no to that; one that is already there is left alone.
install_with_apt() {
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap '$sudo rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
		$sudo chmod 755 $policy
	fi
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq update
	# shellcheck disable=SC2086 # a list of words
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $packages >/dev/null
	if [ -e $policy ] && grep -q '^exit 101$' $policy; then
		$sudo rm -f $policy
		trap - EXIT
	fi
}

install_packages() {
	find_manager
	want_packages
	[ -n "$packages" ] || return 0
	packages=${packages# }
	case $manager in
	apt-get) command="apt-get install -y --no-install-recommends" ;;
	dnf) command="dnf install -y" ;;
	apk) command="apk add" ;;
	pacman) command="pacman -S --needed --noconfirm" ;;
	none)
		missing=yes
		complain "missing: newuidmap and newgidmap (package uidmap, shadow-utils or shadow) or a static busybox."
		complain "There is no apt, dnf, apk or pacman here: install them with this system's own package manager."
		return 0
		;;
	esac
	if [ "$check_only" = no ] && [ "$manager" = apt-get ]; then
		say "installing $packages"
		install_with_apt
		return 0
	fi
	# shellcheck disable=SC2086 # both are lists of words
	as_root "packages $packages" $command $packages
}

# --- subordinate IDs --------------------------------------------------------------------------------------------------

# has_range FILE: a line for the user by name or by number, or another source of ranges named in nsswitch.conf.
has_range() {
	if grep -qs '^subid:' /etc/nsswitch.conf && command -v getsubids >/dev/null 2>&1; then
		group_flag=
		[ "$1" = /etc/subuid ] || group_flag=-g
		# shellcheck disable=SC2086 # empty means no argument
		getsubids $group_flag "$user" >/dev/null 2>&1
		return
	fi
	awk -F: -v name="$user" -v uid="$uid" '($1 == name || $1 == uid) && $3 > 0 { found = 1 } END { exit !found }' "$1" 2>/dev/null
}

# first_free FILE prints the lowest ID above every range in the file.
first_free() {
	cat "$1" 2>/dev/null | awk -F: -v first="$subid_first" '
		$2 ~ /^[0-9]+$/ && $3 ~ /^[0-9]+$/ && $2 + $3 > first { first = $2 + $3 }
		END { printf "%d\n", first }'
}

# add_range FILE FLAG gives the user the next free range, through usermod where it knows how (it locks the file).
add_range() {
	if has_range "$1"; then
		return 0
	fi
	start=$(first_free "$1")
	end=$((start + subid_count - 1))
	if usermod --help 2>&1 | grep -q -e "$2"; then
		[ -e "$1" ] || [ "$check_only" = yes ] || $sudo touch "$1"
		as_root "range $start-$end in $1 for $user" usermod "$2" "$start-$end" "$user"
	else
		as_root "range $start-$end in $1 for $user" sh -c "echo $user:$start:$subid_count >>$1"
	fi
}

# --- one store for cooper, podman and buildah -------------------------------------------------------------------------

# Without any storage.conf older podman and buildah choose the vfs driver for an ordinary user, which keeps a whole copy of every
# layer, and would not see cooper's images. A store with images in it is never switched.
choose_driver() {
	[ "$uid" -ne 0 ] || return 0
	command -v podman >/dev/null 2>&1 || command -v buildah >/dev/null 2>&1 || return 0
	home=$(getent passwd "$user" | cut -d: -f6)
	conf=$home/.config/containers/storage.conf
	for file in "$conf" /etc/containers/storage.conf /usr/share/containers/storage.conf; do
		[ ! -e "$file" ] || return 0
	done
	if [ -s "$home/.local/share/containers/storage/vfs-images/images.json" ]; then
		say "note: podman keeps $user's images with the vfs driver and won't list cooper's, which uses overlay; see docs/files-on-disk.md"
		return 0
	fi
	if [ "$asked_to_check" = yes ]; then
		say "note: $conf is missing: without it older podman won't list cooper's images"
		tell_database
		return 0
	fi
	write="mkdir -p '$home/.config/containers' && printf '[storage]\ndriver = \"overlay\"\n' >'$conf'"
	if [ "$(id -un)" = "$user" ]; then
		sh -c "$write"
	elif [ "$check_only" = no ]; then
		$sudo su -s /bin/sh "$user" -c "$write"
	else
		return 0
	fi
	say "wrote $conf with driver = \"overlay\": podman and buildah use that driver for $user, as cooper does"
	tell_database
}

# What podman noted in its data base of containers counts more than storage.conf. What is in there is not for this script to remove.
tell_database() {
	database=$home/.local/share/containers/storage/libpod/bolt_state.db
	if grep -qs graph-driver-namevfs "$database"; then
		say "note: podman goes by its data base, which says vfs. This has it forget that, and its containers and volumes:"
		say "    rm -r ${database%/*}"
	fi
}

# --- things only looked at --------------------------------------------------------------------------------------------

# newuidmap works by a setuid bit or by a file capability; images made by copying files often lose both.
check_newuidmap() {
	for program in newuidmap newgidmap; do
		path=$(command -v $program 2>/dev/null) || continue
		[ -u "$path" ] && continue
		command -v getcap >/dev/null 2>&1 || continue
		if ! getcap "$path" 2>/dev/null | grep -q 'cap_set[ug]id'; then
			missing=yes
			complain "missing: $path has neither its setuid bit nor its capability. As root, type:"
			complain "    chmod u+s $path"
		fi
	done
}

# setting FILE prints a kernel setting, or nothing where this kernel hasn't got it.
setting() { cat "/proc/sys/$1" 2>/dev/null || true; }

check_kernel() {
	if [ "$(setting user/max_user_namespaces)" = 0 ]; then
		missing=yes
		complain "missing: user namespaces are switched off. As root, type:"
		complain "    sysctl -w user.max_user_namespaces=15000"
	fi
	[ "$uid" -ne 0 ] || return 0
	if [ "$(setting kernel/unprivileged_userns_clone)" = 0 ]; then
		missing=yes
		complain "missing: user namespaces are for root only here. As root, type:"
		complain "    sysctl -w kernel.unprivileged_userns_clone=1"
	fi
	if [ "$(setting kernel/apparmor_restrict_unprivileged_userns)" = 1 ]; then
		say "note: AppArmor limits user namespaces here; if cooper says so, docs/user-namespaces.md has the profile that allows it"
	fi
}

# Go builds cooper; installing a tool chain is left to the user, since there are many good ways.
check_go() {
	gomod=$(dirname "$0")/../go.mod
	[ -f "$gomod" ] || return 0
	wanted=$(awk '$1 == "go" { print $2; exit }' "$gomod")
	PATH=$PATH:/usr/local/go/bin
	if ! command -v go >/dev/null 2>&1; then
		missing=yes
		complain "missing: Go $wanted or newer, which compiles cooper. See https://go.dev/doc/install"
		return 0
	fi
	have=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
	have=${have#go}
	lowest=$(printf '%s\n%s\n' "${have%% *}" "$wanted" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)
	if [ "$lowest" != "$wanted" ] && [ "$(cd / && go env GOTOOLCHAIN)" = local ]; then
		missing=yes
		complain "missing: Go $wanted or newer; this is $have, and GOTOOLCHAIN=local keeps it from fetching another. See https://go.dev/doc/install"
	fi
}

install_packages
add_range /etc/subuid --add-subuids
add_range /etc/subgid --add-subgids
choose_driver
check_newuidmap
check_kernel
check_go

if [ "$missing" = yes ]; then
	exit 1
fi
say "everything that cooper needs is in place for $user"
