#include "layers/base/signal.h"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <vector>

#include "layers/base/error.h"
#include "layers/base/suggest.h"

namespace surcoat {

int parse_signal(const std::string& text) {
    std::string name = text;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    if (name.rfind("SIG", 0) == 0) name.erase(0, 3);
    int number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (!name.empty() && error == std::errc() && end == name.data() + name.size()) {
        if (number >= 1 && number <= SIGRTMAX) return number;
        throw Error(Errc::invalid, fmt::format("signal {} does not exist", text))
            .hint(fmt::format("signals are 1 to {}", SIGRTMAX));
    }
    if (name.rfind("RTMIN", 0) == 0) {
        int offset = 0;
        if (name.size() > 6 && name[5] == '+')
            std::from_chars(name.data() + 6, name.data() + name.size(), offset);
        if (offset >= 0 && SIGRTMIN + offset <= SIGRTMAX) return SIGRTMIN + offset;
    }
    std::vector<std::string> known;
    for (int i = 1; i < SIGRTMIN; ++i) {
        const char* abbreviation = ::sigabbrev_np(i);
        if (abbreviation == nullptr) continue;
        if (name == abbreviation) return i;
        known.emplace_back(abbreviation);
    }
    throw Error(Errc::invalid, fmt::format("unknown signal '{}'{}", text, did_you_mean(name, known)))
        .hint("`kill -l` lists them");
}

}  // namespace surcoat
