#compdef autoquant
# Completion of autoquant for zsh.
_autoquant() {
    local -a found
    found=("${(@f)$(${~words[1]} completion words "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    compadd -S '' -- ${(M)found:#*[=/.]}
    compadd -- ${found:#*[=/.]}
}
compdef _autoquant autoquant
