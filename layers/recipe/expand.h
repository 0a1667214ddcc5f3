#pragma once
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace surcoat::recipe {

/// What a word became.
struct Expansion {
    std::string text;
    std::vector<std::string> words;  ///< `text` split at blanks outside quotes (EXPOSE)
    std::set<std::string> used;      ///< variables that were asked for and are set
    std::set<std::string> missing;   ///< those that are not
};

/// Replaces variables and removes quotes, as the recipe language does it (a small part of the POSIX shell's
/// word expansion): $v ${v} ${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?m} ${v?m} ${v#p} ${v##p} ${v%p} ${v%%p}
/// ${v/p/r} ${v//p/r}, '…', "…", and the escape character. Immutable: safe for many threads if the lookup is.
class Expander {
  public:
    using Lookup = std::function<std::optional<std::string>(const std::string& name)>;
    using Variables = std::map<std::string, std::string>;

    explicit Expander(Lookup lookup, char escape = '\\') : lookup_(std::move(lookup)), escape_(escape) {}
    explicit Expander(Variables variables, char escape = '\\');

    /// A word of an instruction. Throws Errc::invalid for a substitution that is not closed, not known, or
    /// that demands a variable which is not set (`${v:?message}`).
    Expansion expand(std::string_view word) const;
    /// The body of a here-document of COPY or ADD: quotes are ordinary characters.
    Expansion expand_body(std::string_view body) const;
    /// expand(word).text
    std::string text(std::string_view word) const { return expand(word).text; }

  private:
    Lookup lookup_;
    char escape_;
};

/// What the lexer needs to see which quotes and variables a here-document's delimiter has.
struct RawExpansion {
    bool keep_quotes = false;     ///< quote characters and escapes stay in the text
    bool literal_quotes = false;  ///< quotes are ordinary characters
    bool keep_unset = false;      ///< `$v` of an unset variable stays as it is written
};
Expansion expand_raw(std::string_view word, const Expander::Lookup& lookup, char escape,
                     const RawExpansion& how);

}  // namespace surcoat::recipe
