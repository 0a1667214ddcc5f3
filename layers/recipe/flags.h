#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/recipe/lexer.h"

namespace surcoat::recipe {

/// The `--flags` of one instruction, checked against those that it has.
class FlagSet {
  public:
    enum class Kind { boolean, text, list };
    struct Known {
        std::string name;
        Kind kind;
    };
    /// Throws Errc::invalid with the flag's place: unknown (with a suggestion), given twice, without a value,
    /// or a value that is no boolean. Names count letter by letter, case included.
    FlagSet(const Source& source, const Instruction& instruction, const std::vector<Known>& known);

    std::optional<bool> boolean(std::string_view name) const;
    std::optional<Word> text(std::string_view name) const;
    std::vector<Word> list(std::string_view name) const;

  private:
    struct Given {
        std::string name;
        Word value;
    };
    std::vector<Given> given_;
};

}  // namespace surcoat::recipe
