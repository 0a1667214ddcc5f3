#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace surcoat::cmd {

/// The options of one verb, declared where the verb is written and bound to its variables. A thin face over
/// CLI11, which stays in options.cc. Names as CLI11 takes them: "-t,--tag".
class Options {
  public:
    explicit Options(void* app) : app_(app) {}

    void flag(const std::string& names, bool& value, const std::string& help);
    void value(const std::string& names, std::string& value, const std::string& help, const std::string& placeholder);
    void value(const std::string& names, std::optional<std::string>& value, const std::string& help, const std::string& placeholder);
    void value(const std::string& names, std::int64_t& value, const std::string& help, const std::string& placeholder);
    void value(const std::string& names, std::optional<std::int64_t>& value, const std::string& help, const std::string& placeholder);
    /// May be given several times, each with one value.
    void list(const std::string& names, std::vector<std::string>& values, const std::string& help, const std::string& placeholder);
    /// Takes all values up to the next option: `--host sh coreutils python3`.
    void many(const std::string& names, std::vector<std::string>& values, const std::string& help, const std::string& placeholder);
    /// One of a few words.
    void choice(const std::string& names, std::string& value, const std::vector<std::string>& words, const std::string& help);

    void argument(const std::string& name, std::string& value, const std::string& help, bool required = true);
    void arguments(const std::string& name, std::vector<std::string>& values, const std::string& help, bool required = true);
    /// The first word that is no option, and all after it, untouched: `IMAGE [COMMAND…]`.
    void rest(const std::string& name, std::vector<std::string>& values, const std::string& help);

    struct Rest {
        std::string name;
        std::vector<std::string>* values = nullptr;
        std::string help;
    };
    const std::optional<Rest>& rest_declared() const { return rest_; }

  private:
    void* app_;
    std::optional<Rest> rest_;
};

}  // namespace surcoat::cmd
