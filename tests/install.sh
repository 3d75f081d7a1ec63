# Installs the Debian packages that are missing; sourced by the scripts that build.
# Usage: install_packages build [test]
# Without root it names the one line to run and returns 1.

install_packages() {
  local root missing=() package line kind
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  for kind in "$@"; do
    line=$(grep "^$kind:" "$root/tests/packages.txt") || return 1
    for package in ${line#*:}; do
      dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "These packages are missing. Run this line, then start again:" >&2
    echo "  sudo apt-get install -y ${missing[*]}" >&2
    return 1
  fi
  echo "Installing: ${missing[*]}"
  apt-get update -qq || echo "apt-get update failed; trying with the package lists that are here" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
