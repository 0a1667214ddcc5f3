#include "layers/import/host_packages.h"

#include <fcntl.h>

#include <string_view>

namespace surcoat {
namespace {

constexpr std::string_view kInfo = "/var/lib/dpkg/info";
constexpr std::string_view kListEnding = ".list";

// Only programs are ever asked for.
bool in_program_directory(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) return false;
    const std::string_view directory = path.substr(0, slash);
    for (const std::string_view ending : {"/bin", "/sbin", "/games"}) {
        if (directory.size() >= ending.size() && directory.substr(directory.size() - ending.size()) == ending)
            return true;
    }
    return false;
}

}  // namespace

HostPackages::HostPackages(const RootDir& root) : root_(root) {
    const auto directory = root.try_open(kInfo, O_RDONLY | O_DIRECTORY);
    if (!directory) return;
    for (const std::string& name : list_directory(directory->get())) {
        if (name.size() <= kListEnding.size() ||
            name.compare(name.size() - kListEnding.size(), kListEnding.size(), kListEnding) != 0) {
            continue;
        }
        const std::string stem = name.substr(0, name.size() - kListEnding.size());
        lists_.emplace(stem.substr(0, stem.find(':')), name);
    }
}

std::vector<std::string> HostPackages::names() const {
    std::vector<std::string> all;
    for (const auto& [package, list] : lists_) all.push_back(package);
    return all;
}

void HostPackages::load(const std::string& package) {
    if (files_.count(package) != 0) return;
    std::vector<std::string>& files = files_[package];
    const auto list = lists_.find(package);
    if (list == lists_.end()) return;
    const auto text = root_.read_file(std::string(kInfo) + "/" + list->second);
    if (!text) return;
    for (std::size_t at = 0; at < text->size();) {
        std::size_t end = text->find('\n', at);
        if (end == std::string::npos) end = text->size();
        if (end > at + 1 && (*text)[at] == '/' && text->compare(at, end - at, "/.") != 0) {
            files.push_back(text->substr(at, end - at));
        }
        at = end + 1;
    }
}

const std::vector<std::string>& HostPackages::files(const std::string& package) {
    load(package);
    return files_[package];
}

std::optional<std::string> HostPackages::owner(const std::string& path) {
    if (!owners_known_) {
        for (const auto& [package, list] : lists_) {
            for (const std::string& file : files(package)) {
                if (in_program_directory(file)) owners_.emplace(file, package);
            }
        }
        owners_known_ = true;
    }
    const bool below_usr = path.compare(0, 5, "/usr/") == 0;
    for (const std::string& name : {path, below_usr ? path.substr(4) : "/usr" + path}) {
        const auto found = owners_.find(name);
        if (found != owners_.end()) return found->second;
    }
    return std::nullopt;
}

}  // namespace surcoat
