#include "layers/import/host_libraries.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstring>

#include "layers/base/file.h"

namespace surcoat {
namespace {

// glibc, sysdeps/generic/dl-cache.h: struct cache_file_new and file_entry_new, in the machine's byte order.
//   0  char     magic[20]  "glibc-ld.so.cache1.1"       per entry: 0  int32   flags
//   20 uint32   nlibs                                              4  uint32  key    (offset of the soname)
//   24 uint32   len_strings                                        8  uint32  value  (offset of the path)
//   28 uint8    flags, padding; uint32 extension_offset;           12 uint32  osversion
//      uint32   unused[3]                                          16 uint64  hwcap
//   48 entries, then strings; offsets count from this header's start.
constexpr std::string_view kNewMagic = "glibc-ld.so.cache1.1";
constexpr std::size_t kHeaderBytes = 48;
constexpr std::size_t kEntryBytes = 24;

template <typename T>
T load(std::string_view file, std::size_t at) {
    T value;
    std::memcpy(&value, file.data() + at, sizeof value);
    return value;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
        text.replace(at, from.size(), to);
    }
}

std::string directory_name(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> parse_linker_cache(std::string_view file) {
    std::vector<std::pair<std::string, std::string>> found;
    // The old format may stand in front of the new one.
    const std::size_t begin = file.find(kNewMagic);
    if (begin == std::string_view::npos) return found;
    file.remove_prefix(begin);
    if (file.size() < kHeaderBytes) return found;
    const std::uint64_t count = load<std::uint32_t>(file, 20);
    if (count > (file.size() - kHeaderBytes) / kEntryBytes) return found;
    const auto text = [&](std::uint32_t at) -> std::string_view {
        if (at >= file.size()) return {};
        const std::string_view rest = file.substr(at);
        const std::size_t end = rest.find('\0');
        return end == std::string_view::npos ? std::string_view() : rest.substr(0, end);
    };
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t entry = kHeaderBytes + i * kEntryBytes;
        if (load<std::uint64_t>(file, entry + 16) != 0)
            continue;  // glibc-hwcaps: another path has it for all
        const std::string_view name = text(load<std::uint32_t>(file, entry + 4));
        const std::string_view path = text(load<std::uint32_t>(file, entry + 8));
        if (!name.empty() && !path.empty() && path.front() == '/') found.emplace_back(name, path);
    }
    return found;
}

HostLibraries::HostLibraries(const RootDir& root) : root_(root) {
    if (const auto file = root.read_file("/etc/ld.so.cache")) {
        for (auto& [name, path] : parse_linker_cache(*file)) cache_.emplace(std::move(name), std::move(path));
    }
    // What Debian's, Fedora's and musl's linkers search by themselves; those that do not exist cost nothing.
#if defined(__x86_64__)
    standard_ = {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"};
#elif defined(__aarch64__)
    standard_ = {"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"};
#elif defined(__riscv)
    standard_ = {"/lib/riscv64-linux-gnu", "/usr/lib/riscv64-linux-gnu"};
#endif
    standard_.insert(standard_.end(), {"/lib64", "/usr/lib64", "/lib", "/usr/lib"});
}

std::string HostLibraries::expand(std::string_view path, const std::string& origin, unsigned bits) {
    std::string text(path);
    const std::string_view lib = bits == 64 ? "lib64" : "lib";
    for (const auto& [name, value] :
         {std::pair<std::string_view, std::string_view>{"ORIGIN", origin}, {"LIB", lib}, {"PLATFORM", ""}}) {
        replace_all(text, fmt::format("${{{}}}", name), value);
        replace_all(text, fmt::format("${}", name), value);
    }
    return text;
}

bool HostLibraries::fits(const std::string& path, const ElfInfo& needing) const {
    const auto file = root_.try_open(path, O_RDONLY | O_NONBLOCK);
    if (!file || !S_ISREG(stat_fd(file->get()).st_mode)) return false;
    try {
        const auto elf = read_elf(file->get());
        return elf && elf->bits == needing.bits && elf->machine == needing.machine;
    } catch (const Error&) {
        return false;  // the linker, too, goes on to the next directory
    }
}

std::optional<HostLibraries::Found> HostLibraries::find(const std::string& name,
                                                        const std::string& needing_path,
                                                        const ElfInfo& needing,
                                                        const std::vector<std::string>& inherited) const {
    const std::string origin = directory_name(needing_path);
    if (name.find('/') != std::string::npos) {
        const std::string path = expand(name, origin, needing.bits);
        if (path.front() == '/' && fits(path, needing)) return Found{path};
        return std::nullopt;
    }
    const auto try_directories = [&](const std::vector<std::string>& directories) -> std::optional<Found> {
        for (const std::string& directory : directories) {
            const std::string path = expand(directory, origin, needing.bits) + "/" + name;
            if (path.front() == '/' && fits(path, needing)) return Found{path};
        }
        return std::nullopt;
    };
    if (needing.runpath.empty()) {
        if (auto found = try_directories(needing.rpath)) return found;
        if (auto found = try_directories(inherited)) return found;
    } else if (auto found = try_directories(needing.runpath)) {
        return found;
    }
    // The linker asks the cache first; where both know a file, the one without the cache is the same file or
    // stands in for it, and the image then needs no cache.
    auto standard = try_directories(standard_);
    const auto [first, last] = cache_.equal_range(name);
    for (auto it = first; it != last; ++it) {
        if (!fits(it->second, needing)) continue;
        bool searched = false;
        for (const std::string& directory : standard_)
            searched = searched || directory_name(it->second) == directory;
        return Found{it->second, !searched};
    }
    return standard;
}

}  // namespace surcoat
