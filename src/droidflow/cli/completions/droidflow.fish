# Completion of droidflow for fish: droidflow itself says what may follow.
function __droidflow_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    for line in ($program complete $words[2..-1] "$word" 2>/dev/null)
        set -l parts (string split -m 1 \t -- $line)
        set -l path (string sub -s (math 1 + (string length -- "$parts[2]")) -- "$word")
        switch $parts[1]
            case :files
                for found in (__fish_complete_path "$path")
                    echo -- $parts[2]$found
                end
            case :folders
                for found in (__fish_complete_directories "$path")
                    echo -- $parts[2]$found
                end
            case '*'
                echo -- $line
        end
    end
end
complete -c droidflow -f -k -a '(__droidflow_complete)'
