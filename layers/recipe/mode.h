#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace surcoat::recipe {

/// The value of `--chmod`: "755", "u=rwX,go=rX", "a+x,g=u". Both forms of chmod(1), with umask 0.
class ModeChange {
  public:
    /// Throws Errc::invalid, with what was found, for anything else; octal numbers go from 0 to 7777.
    explicit ModeChange(std::string_view text);

    /// The new permission bits (07777) of a file that has `mode`. X looks at the mode before any change.
    std::uint32_t apply(std::uint32_t mode, bool is_directory) const;
    /// The number, if it was one: such a mode also goes to directories that COPY makes on the way.
    std::optional<std::uint32_t> octal() const noexcept { return octal_; }

  private:
    struct Action {
        std::uint32_t who = 0;       ///< 0700, 0070, 0007 of u, g, o
        char operation = '+';        ///< + - =
        std::uint32_t bits = 0;      ///< of rwxst, for all classes at once
        bool conditional_x = false;  ///< X
        char copy_from = 0;          ///< u, g or o: that class's bits instead
    };
    std::optional<std::uint32_t> octal_;
    std::vector<Action> actions_;
};

}  // namespace surcoat::recipe
