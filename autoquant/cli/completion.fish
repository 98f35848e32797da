# Completion of autoquant for fish.
function __autoquant_complete
    set -l words (commandline -opc)
    $words[1] completion words $words[2..] (commandline -ct) 2>/dev/null
end
complete -c autoquant -f -a '(__autoquant_complete)'
