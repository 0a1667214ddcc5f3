#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "layers/tree.h"

namespace surcoat::build {

/// Users and groups of a root, read from its /etc/passwd and /etc/group.
class Accounts {
  public:
    /// `read` gives the content of a regular file of the root by path; nothing if absent.
    explicit Accounts(const std::function<std::optional<std::string>(const std::string& path)>& read);

    struct Owner {
        std::uint32_t uid = 0;
        std::uint32_t gid = 0;
        std::string unknown;  ///< a name that is not in the files ("" = all known); it counts as 0
    };
    /// The value of --chown: `u[:g]`. Numbers as they are; `u` alone: the passwd's group (of a number: gid =
    /// the same number); `:g` uid 0. Reference: notes recipe-and-build.md 1.7, "--chown".
    Owner chown(const std::string& text) const;
    /// A USER's ids: like chown, but a number alone has group 0 unless the passwd knows it.
    Owner user(const std::string& text) const;

  private:
    struct Account {
        std::string name;
        std::uint32_t id = 0;
        std::uint32_t group = 0;
    };
    static std::vector<Account> parse(const std::string& text, bool with_group);
    std::vector<Account> users_;
    std::vector<Account> groups_;
};

}  // namespace surcoat::build
