#!/bin/sh
# A certificate authority for one site, and certificates from it. Needs openssl 1.1.1 or later.
set -eu
umask 077

usage() {
  cat >&2 <<'TEXT'
usage: certificates.sh DIR ca NAME             make the authority: DIR/ca.crt, DIR/ca.key
       certificates.sh DIR broker HOST...      DIR/broker.crt, DIR/broker.key; HOST: names, addresses
       certificates.sh DIR client IDENTITY     DIR/IDENTITY.crt, DIR/IDENTITY.key
IDENTITY is SITE/LINE/STATION for a station; a plain name, such as consumer, for anyone else.
DAYS=N before the command: how long it is valid (the authority 3650, the others 825).
TEXT
  exit 2
}

stop() {
  echo "certificates.sh: $1" >&2
  exit 2
}

[ $# -ge 3 ] || usage
dir=$1 what=$2
shift 2

new() { # new FILE: never over another one, and a half-made one is no one's
  [ ! -e "$1.crt" ] || stop "$1.crt is there already: move it away first"
  mkdir -p "$(dirname "$1")"
}

key() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
}

issue() { # issue FILE CN EXTENSIONS
  [ -e "$dir/ca.key" ] || stop "there is no $dir/ca.key: make the authority first"
  new "$1"
  key "$1"
  settings=$(mktemp)
  trap 'rm -f "$settings"' EXIT
  printf '[req]\ndistinguished_name=name\n[name]\n[made]\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n%b' "$3" >"$settings"
  # -subj takes a slash for its own separator.
  subject=$(printf %s "$2" | sed 's:/:\\/:g')
  openssl req -new -config "$settings" -key "$1.key" -subj "/CN=$subject" -out "$1.csr"
  openssl x509 -req -sha256 -in "$1.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" \
    -set_serial "0x$(openssl rand -hex 16)" -days "${DAYS:-825}" \
    -extfile "$settings" -extensions made -out "$1.crt"
  rm "$1.csr"
  echo "$1.crt"
}

case $what in
  ca)
    new "$dir/ca"
    key "$dir/ca"
    settings=$(mktemp)
    trap 'rm -f "$settings"' EXIT
    printf '[req]\ndistinguished_name=name\n[name]\n' >"$settings"
    openssl req -x509 -new -sha256 -config "$settings" -key "$dir/ca.key" -subj "/CN=$1" \
      -days "${DAYS:-3650}" -addext basicConstraints=critical,CA:TRUE,pathlen:0 \
      -addext keyUsage=critical,keyCertSign,cRLSign \
      -addext subjectKeyIdentifier=hash -out "$dir/ca.crt"
    echo "$dir/ca.crt"
    ;;
  broker)
    names=
    for host; do
      case $host in
        *[!A-Za-z0-9.:-]*) stop "$host is no name or address of a machine" ;;
        *:*) names="$names,IP:$host" ;;
        *[!0-9.]*) names="$names,DNS:$host" ;;
        *) names="$names,IP:$host" ;;
      esac
    done
    issue "$dir/broker" "$1" "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=${names#,}\n"
    ;;
  client)
    [ $# = 1 ] || usage
    [ -n "$1" ] || usage
    case $1 in
      *[!A-Za-z0-9._/\ -]* | /* | */ | *//* | *..*) stop "$1 is no identity: letters, digits, . _ - and / between levels" ;;
      ca | broker) stop "$1 is taken: choose another identity" ;;
    esac
    [ "${#1}" -le 64 ] || stop "$1 is longer than 64 characters, which is what a common name may have"
    issue "$dir/$1" "$1" "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n"
    ;;
  *) usage ;;
esac
