#include "overlay/container_names.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <cstdint>

#include "layers/base/bytes.h"
#include "layers/base/error.h"

namespace surcoat::overlay {
namespace {

constexpr std::array kAdjectives = {
    "able",   "amber",   "bold",   "brave",  "bright", "brisk",  "calm",   "clever",  "cosy",
    "crisp",  "curious", "deft",   "eager",  "early",  "easy",   "fair",   "fancy",   "fast",
    "fine",   "fond",    "frank",  "fresh",  "gentle", "glad",   "golden", "grand",   "green",
    "happy",  "hardy",   "honest", "humble", "jolly",  "keen",   "kind",   "lively",  "lucky",
    "mellow", "merry",   "mild",   "modest", "neat",   "nimble", "noble",  "patient", "plain",
    "polite", "proud",   "quick",  "quiet",  "rapid",  "ready",  "rosy",   "royal",   "sharp",
    "shiny",  "silent",  "silver", "simple", "smart",  "snug",   "steady", "sunny",   "swift",
    "tidy",   "tiny",    "trim",   "vivid",  "warm",   "wise",   "witty",  "young",   "zesty"};
constexpr std::array kAnimals = {
    "ant",     "badger", "bat",    "bear",  "beaver", "bee",      "bison",  "boar",    "camel",  "cat",
    "cheetah", "cobra",  "crab",   "crane", "crow",   "deer",     "dingo",  "dolphin", "donkey", "dove",
    "duck",    "eagle",  "eel",    "elk",   "falcon", "ferret",   "finch",  "fox",     "frog",   "gecko",
    "gibbon",  "goat",   "goose",  "hare",  "hawk",   "hedgehog", "heron",  "horse",   "ibex",   "jackal",
    "jay",     "koala",  "lark",   "lemur", "lion",   "llama",    "lynx",   "magpie",  "marten", "mole",
    "moose",   "mouse",  "newt",   "otter", "owl",    "panda",    "parrot", "puffin",  "quail",  "rabbit",
    "raven",   "robin",  "salmon", "seal",  "shark",  "sheep",    "shrew",  "sloth",   "snail",  "sparrow",
    "stork",   "swan",   "tapir",  "tiger", "toad",   "trout",    "turtle", "viper",   "walrus", "weasel",
    "whale",   "wolf",   "wombat", "wren",  "yak",    "zebra"};

void fill_random(void* buffer, std::size_t size) {
    // Up to 256 bytes come at once, whatever signals arrive.
    if (::getrandom(buffer, size, 0) != static_cast<ssize_t>(size)) throw_errno("get random bytes");
}

}  // namespace

std::string make_up_name(const std::function<bool(const std::string&)>& taken) {
    for (unsigned attempt = 0;; ++attempt) {
        std::uint32_t numbers[3];
        fill_random(numbers, sizeof numbers);
        std::string name = fmt::format("{}_{}", kAdjectives[numbers[0] % kAdjectives.size()],
                                       kAnimals[numbers[1] % kAnimals.size()]);
        if (attempt >= 8) name += fmt::format("{}", numbers[2] % (attempt >= 100 ? 1000000000 : 10000));
        if (!taken(name)) return name;
    }
}

std::string random_id() {
    std::byte bytes[32];
    fill_random(bytes, sizeof bytes);
    return to_hex(bytes);
}

void validate_container_name(const std::string& name) {
    const auto alphanumeric = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    bool good = !name.empty() && name.size() <= 128 && alphanumeric(name[0]);
    for (const char c : name) good = good && (alphanumeric(c) || c == '_' || c == '.' || c == '-');
    if (good) return;
    throw Error(Errc::invalid, fmt::format("'{}' cannot be a container's name", name))
        .hint("letters, digits, '_', '.' and '-', beginning with a letter or digit");
}

}  // namespace surcoat::overlay
