#include "layers/recipe/path.h"

#include <algorithm>
#include <vector>

namespace surcoat::recipe {

std::string clean_path(std::string_view path) {
    const bool absolute = path.starts_with('/');
    std::vector<std::string_view> kept;
    for (std::size_t at = 0; at < path.size();) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        const std::string_view name = path.substr(at, end - at);
        at = end + 1;
        if (name.empty() || name == ".") continue;
        if (name == ".." && !kept.empty() && kept.back() != "..") {
            kept.pop_back();
        } else if (name != ".." || !absolute) {
            kept.push_back(name);
        }
    }
    std::string clean(absolute ? "/" : "");
    for (std::size_t i = 0; i < kept.size(); ++i) {
        if (i > 0) clean += '/';
        clean += kept[i];
    }
    return clean.empty() ? "." : clean;
}

std::string normalize_workdir(std::string_view current, std::string_view requested) {
    std::string joined = "/";
    if (!requested.starts_with('/')) joined.append(current).append("/");
    return clean_path(joined.append(requested));
}

}  // namespace surcoat::recipe
