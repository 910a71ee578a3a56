#!/bin/sh
# Installs this package into the PostgreSQL @MAJOR@ whose pg_config is given, or found in PATH.
# Then, in a database: CREATE EXTENSION damson;
set -eu
pg_config=${1:-pg_config}
here=$(cd "$(dirname "$0")" && pwd)

version=$("$pg_config" --version)
case "$version" in
    "PostgreSQL @MAJOR@"[!0-9]*) ;;
    *) echo "this package is for PostgreSQL @MAJOR@; $pg_config says $version" >&2; exit 1 ;;
esac
lib=$("$pg_config" --pkglibdir)
extension=$("$pg_config" --sharedir)/extension

# Written aside and renamed: a running backend keeps the library it has mapped.
place() {
    cp "$here/$1" "$2/.$1.$$"
    chmod "$3" "$2/.$1.$$"
    mv "$2/.$1.$$" "$2/$1"
    echo "installed $2/$1"
}
mkdir -p "$lib" "$extension"
place damson.so "$lib" 755
for file in "$here"/damson--*.sql "$here"/damson.control; do
    place "$(basename "$file")" "$extension" 644
done
