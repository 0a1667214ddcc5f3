#pragma once
#include <string>
#include <vector>

#include "layers/recipe/diagnostics.h"
#include "layers/recipe/directives.h"
#include "layers/recipe/heredoc.h"
#include "layers/recipe/source.h"

namespace surcoat::recipe {

/// One instruction as words, before anything is known of its meaning.
struct Instruction {
    std::string keyword;  ///< as written
    Span keyword_at;
    std::vector<Word> flags;            ///< "--from=x", quotes removed
    std::vector<Word> arguments;        ///< ENV and LABEL: three each: name, value, "=" ("" for `NAME rest`)
    bool json = false;                  ///< the arguments came in the JSON form
    std::string original;               ///< continuation lines joined
    std::vector<std::string> comments;  ///< above, back to the last instruction or bare "#"; without the mark
    std::vector<Heredoc> heredocs;
    std::vector<Instruction> trigger;  ///< ONBUILD: the instruction that it holds (one or none)
    Span where;                        ///< here-documents included

    /// As an S-expression: `(copy ["--from=x"] "a" "b")` without the parentheses.
    std::string dump() const;
};

struct Ast {
    char escape = '\\';
    std::vector<Directive> directives;
    std::vector<Instruction> instructions;
    std::vector<Diagnostic> warnings;

    /// One instruction a line, in parentheses.
    std::string dump() const;
};

/// Cuts a recipe into instructions. Unknown instructions are kept (with one empty argument); parse.h refuses
/// them. Throws Errc::invalid for a file with no instruction, text that its instruction's form does not
/// allow, a here-document without an end, and bad directives.
Ast lex(const Source& source);

/// "RUN", …: the keywords of the language, in upper case.
const std::vector<std::string>& instruction_keywords();

}  // namespace surcoat::recipe
