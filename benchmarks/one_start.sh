#!/usr/bin/env bash
# One cold start as a whole command, for a clock that is not ours: start the host, send it one invocation, read
# the response to its last byte, kill the host. All by builtins of bash, so that hardly any of the time is ours.
#
#   one_start.sh FOLDER prepare   what comes before it, untimed: a workspace as new as each of our hosts has
#   one_start.sh FOLDER           the cold start; what went wrong stands in FOLDER/problem
#
# clock.py lays out FOLDER: argv and greeting of the host, the request, and in pristine/ what a workspace holds
# before a start. The environment is that of the host, but for what hyperfine and bash add to it.

LC_ALL=C # bytes, not characters
readonly patience_s=60
cd "$1" || exit

if [[ ${2-} == prepare ]]; then
  # A host that was killed takes a moment to give its memory back.
  if [[ -e pid ]]; then
    read -r pid <pid
    for ((tries = 0; tries < 100; tries++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.01
    done
  fi
  rm -rf workspace pid problem || exit
  exec cp -a pristine workspace
fi

fail() {
  printf '%s\n' "$1" >"$folder/problem"
  exit 1
}

folder=$PWD
mapfile -d '' argv <argv
IFS= read -r -d '' greeting <greeting
IFS= read -r request <request
cd workspace || exit
unset -v "${!HYPERFINE@}" PWD OLDPWD SHLVL

coproc HOST { exec "${argv[@]}" 2>host.log; }
pid=$HOST_PID
trap 'kill -9 "$pid"' EXIT
# Copies that outlast the coprocess, whose own descriptors bash closes as soon as it ends. Stdin stays open: the
# host would end with it.
{ exec {said}<&"${HOST[0]}" {stdin}>&"${HOST[1]}"; } 2>/dev/null || fail "the host ended at once"
trap '' PIPE
printf '%s' "$greeting" >&"$stdin" 2>/dev/null
printf '%s\n' "$pid" >"$folder/pid"

port=
while [[ -z $port ]]; do
  IFS= read -r -t "$patience_s" line <&"$said" || fail "the host announced no port"
  if [[ $line == *'"port":'* ]]; then
    port=${line#*'"port":'}
    port=${port%%[!0-9]*}
  fi
done

{ exec {connection}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || fail "nobody listens on port $port"
# Every byte of the request is written as \xHH, since no variable of bash can hold a NUL.
printf '%b' "${request/PORT/$port}" >&"$connection"
# As many bytes as come, until the host closes the connection; NULs are left out.
IFS= read -r -t "$patience_s" -N 1048576 response <&"$connection"
(($? == 1)) || fail "the response does not end"
[[ $response == 'HTTP/1.1 200 '* ]] || fail "the response is not 200: ${response:0:200}"
[[ ${response#*$'\r\n\r\n'} == *'"kind":"exited"'*$'\n'?* ]] || fail "the guest said nothing: $response"
