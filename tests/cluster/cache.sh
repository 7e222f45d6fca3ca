# shellcheck shell=bash
# cache.sh   for scripts to source: where that lies which is built once, outside the clone, and who may build it.

# in_cache NAME   sets `out` to its folder in ${LEVERET_TEST_CACHE:-~/.cache/leveret-test}.
in_cache() {
  # shellcheck disable=SC2034 # read by who sources this
  out=${LEVERET_TEST_CACHE:-$HOME/.cache/leveret-test}/$1
}

# alone   makes the folder and holds its lock, as file 9, until the script ends: what outlives it must be started with `9>&-`.
alone() {
  mkdir -p "$out"
  exec 9>"$out/.lock"
  flock 9
}

# must_have FILE WHO [build]   without the word `build`, a missing FILE of the folder ends the script, with what makes it.
must_have() {
  [ -x "$out/$1" ] || [ "${3:-}" = build ] || {
    echo "$2: there is no $out/$1; make it with: tests/cluster/$2 build" >&2
    exit 1
  }
}

# with_go WHO   the build uses the Go that is there, and makes static programs.
with_go() {
  command -v go >/dev/null || { echo "$1: no go in PATH; install Go 1.26 or later" >&2; exit 1; }
  export GOTOOLCHAIN=local CGO_ENABLED=0
}

# copied FOLDER   a module's sources where they can be built in place, for `go install MODULE@VERSION` refuses one with replace lines:
# sets `source` to a folder that ends with the script.
copied() {
  source=$(mktemp -d)
  trap 'chmod -R u+w "$source"; rm -rf "$source"' EXIT
  export GOFLAGS=-mod=mod
  cp -R "$1/." "$source/" && chmod -R u+w "$source"
}

# unpacked MODULE@VERSION   the folder with its sources, from the Go proxy.
unpacked() {
  (cd / && GOFLAGS=-mod=mod go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
}
