#include "layers/base/suggest.h"

#include <algorithm>
#include <cctype>

namespace surcoat {

unsigned edit_distance(std::string_view a, std::string_view b) {
    const auto same = [](char x, char y) {
        return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
    };
    std::vector<unsigned> before(b.size() + 1);
    std::vector<unsigned> last(b.size() + 1);
    std::vector<unsigned> now(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<unsigned>(j);
    for (std::size_t i = 1; i <= a.size(); ++i) {
        now[0] = static_cast<unsigned>(i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (same(a[i - 1], b[j - 1]) ? 0U : 1U)});
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1])) {
                now[j] = std::min(now[j], before[j - 2] + 1);
            }
        }
        std::swap(before, last);
        std::swap(last, now);
    }
    return last[b.size()];
}

std::optional<std::string> nearest(std::string_view wanted, const std::vector<std::string>& known) {
    unsigned best = wanted.size() <= 3 ? 2 : 3;
    std::optional<std::string> found;
    for (const std::string& name : known) {
        const unsigned distance = edit_distance(wanted, name);
        if (distance < best) {
            best = distance;
            found = name;
        }
    }
    return found;
}

std::string did_you_mean(std::string_view wanted, const std::vector<std::string>& known) {
    const auto found = nearest(wanted, known);
    return found ? " (did you mean '" + *found + "'?)" : std::string();
}

}  // namespace surcoat
