// Recipes, words and ignore files from outside: whatever the bytes, only surcoat::Error may come out.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "layers/base/error.h"
#include "layers/recipe/command.h"
#include "layers/recipe/directives.h"
#include "layers/recipe/expand.h"
#include "layers/recipe/ignore.h"
#include "layers/recipe/mode.h"
#include "layers/recipe/mount.h"
#include "layers/recipe/parse.h"
#include "layers/recipe/port.h"
#include "layers/recipe/quantity.h"
#include "layers/recipe/supported.h"
#include "layers/recipe/wildcard.h"

using namespace surcoat;
using namespace surcoat::recipe;

namespace {

template <typename Body>
void only_errors(const Body& body) {
    try {
        body();
    } catch (const Error&) {}
}

const Expander& expander() {
    static const Expander it(
        {{"A", "foobar"}, {"B", "b b"}, {"E", ""}, {"P", "/usr/local/bin"}, {"W", "?*a*\n*é"}});
    return it;
}

void use(const Recipe& recipe) {
    only_errors([&] { check_supported(recipe); });
    for (const Diagnostic& warning : recipe.warnings) render(recipe.source, warning);
    for (const Stage& stage : recipe.stages) {
        only_errors([&] { expander().text(stage.base); });
        for (const Step& step : stage.steps) {
            if (const auto* run = std::get_if<Run>(&step.what)) {
                script_of(run->command);
                for (const Word& mount : run->mounts) {
                    only_errors([&] {
                        parse_mount(mount.text, [](std::string_view v) { return expander().text(v); });
                    });
                }
            }
            if (const auto* copy = std::get_if<Copy>(&step.what)) {
                if (copy->chmod) only_errors([&] { ModeChange(copy->chmod->text).apply(0644, false); });
                for (const InlineFile& file : copy->files)
                    only_errors([&] { expander().expand_body(file.content); });
            }
            if (const auto* expose = std::get_if<Expose>(&step.what)) {
                // One word, as each may honestly mean 65536 ports.
                only_errors([&] {
                    const auto words = expander().expand(expose->ports.at(0).text).words;
                    if (!words.empty()) parse_ports(words[0]);
                });
            }
            if (const auto* trigger = std::get_if<OnBuild>(&step.what)) {
                only_errors([&] { parse_trigger(trigger->instruction, "trigger"); });
            }
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    only_errors([&] { use(parse(std::string(text), "fuzz")); });
    detect_syntax(text);
    only_errors([&] { IgnoreRules(parse_ignore_file(text)).ignores("some/path/with-é/file.txt"); });
    const std::string_view line = text.substr(0, text.find('\n'));
    only_errors([&] { expander().expand(line); });
    only_errors([&] { expander().expand_body(line); });
    only_errors([&] { wildcard_match(line, "dir/a-b.txt"); });
    only_errors([&] { ModeChange(line).apply(0755, true); });
    only_errors([&] { parse_ports(line); });
    only_errors([&] { parse_size(line); });
    only_errors([&] { parse_duration(line); });
    return 0;
}
