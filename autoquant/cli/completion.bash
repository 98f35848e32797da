# Completion of autoquant for bash, 3.2 or later.
_autoquant() {
    local reply
    COMPREPLY=()
    while IFS= read -r reply; do
        COMPREPLY+=("$reply")
    done < <(COMP_WORDBREAKS="$COMP_WORDBREAKS" "${1/#\~/$HOME}" completion line \
        "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -o nospace -F _autoquant autoquant
