#include "cmd/options.h"

#include <CLI/CLI.hpp>


namespace surcoat::cmd {
namespace {

CLI::App& app(void* pointer) { return *static_cast<CLI::App*>(pointer); }

}  // namespace

void Options::flag(const std::string& names, bool& value, const std::string& help) { app(app_).add_flag(names, value, help); }

void Options::value(const std::string& names, std::string& value, const std::string& help, const std::string& placeholder) {
    app(app_).add_option(names, value, help)->type_name(placeholder)->take_last();
}
void Options::value(const std::string& names, std::optional<std::string>& value, const std::string& help, const std::string& placeholder) {
    app(app_).add_option(names, value, help)->type_name(placeholder)->take_last();
}
void Options::value(const std::string& names, std::int64_t& value, const std::string& help, const std::string& placeholder) {
    app(app_).add_option(names, value, help)->type_name(placeholder)->take_last();
}
void Options::value(const std::string& names, std::optional<std::int64_t>& value, const std::string& help, const std::string& placeholder) {
    app(app_).add_option(names, value, help)->type_name(placeholder)->take_last();
}
void Options::list(const std::string& names, std::vector<std::string>& values, const std::string& help, const std::string& placeholder) {
    // expected(1) with allow_extra_args off: each use takes exactly one value, so that a positional may follow.
    app(app_).add_option(names, values, help)->type_name(placeholder)->allow_extra_args(false)->take_all();
}
void Options::many(const std::string& names, std::vector<std::string>& values, const std::string& help, const std::string& placeholder) {
    app(app_).add_option(names, values, help)->type_name(placeholder)->expected(1, 1 << 20);
}
void Options::choice(const std::string& names, std::string& value, const std::vector<std::string>& words, const std::string& help) {
    app(app_).add_option(names, value, help)->check(CLI::IsMember(words))->take_last();
}
void Options::argument(const std::string& name, std::string& value, const std::string& help, bool required) {
    app(app_).add_option(name, value, help)->required(required)->type_name("");
}
void Options::arguments(const std::string& name, std::vector<std::string>& values, const std::string& help, bool required) {
    app(app_).add_option(name, values, help)->required(required)->type_name("");
}
void Options::rest(const std::string& name, std::vector<std::string>& values, const std::string& help) {
    app(app_).prefix_command();
    rest_ = Rest{name, &values, help};
}

}  // namespace surcoat::cmd
