#include "layers/import/host_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <deque>
#include <string_view>

#include "layers/base/error.h"
#include "layers/base/file.h"

namespace surcoat {
namespace {

constexpr int kMaxSymlinks = 40;  // as the kernel's

void prepend_components(std::deque<std::string>& pending, std::string_view path) {
    std::vector<std::string> parts;
    while (!path.empty()) {
        const std::size_t slash = std::min(path.find('/'), path.size());
        if (slash != 0 && path.substr(0, slash) != ".") parts.emplace_back(path.substr(0, slash));
        path.remove_prefix(std::min(slash + 1, path.size()));
    }
    pending.insert(pending.begin(), parts.begin(), parts.end());
}

}  // namespace

const std::optional<struct stat>& HostFiles::look(const std::string& resolved) {
    const auto found = looked_.find(resolved);
    if (found != looked_.end()) return found->second;
    return looked_.emplace(resolved, root_.lstat(resolved)).first->second;
}

std::optional<std::string> HostFiles::take(const std::string& path) {
    std::deque<std::string> pending;
    prepend_components(pending, path);
    std::string at;  // absolute, without symlinks; "" is the root
    int symlinks = 0;
    while (!pending.empty()) {
        const std::string name = std::move(pending.front());
        pending.pop_front();
        if (name == "..") {
            at.resize(at.empty() ? 0 : at.rfind('/'));
            continue;
        }
        const std::string next = at + "/" + name;
        const auto& st = look(next);
        if (!st) return std::nullopt;
        if (S_ISLNK(st->st_mode)) {
            if (++symlinks > kMaxSymlinks) {
                throw Error(Errc::invalid,
                            fmt::format("'{}' has more than {} symlinks on the way", path, kMaxSymlinks));
            }
            take_one(next, *st);
            const std::string target = read_symlink(next);
            if (!target.empty() && target.front() == '/') at.clear();
            prepend_components(pending, target);
            continue;
        }
        if (!S_ISDIR(st->st_mode) && (!S_ISREG(st->st_mode) || !pending.empty())) return std::nullopt;
        take_one(next, *st);
        at = next;
    }
    return at.empty() ? "/" : at;
}

std::string HostFiles::read_symlink(const std::string& resolved) const {
    const UniqueFd link = root_.open(resolved, O_PATH | O_NOFOLLOW);
    std::string target(4096, '\0');
    const ssize_t n = ::readlinkat(link.get(), "", target.data(), target.size());
    if (n < 0) throw_errno(fmt::format("read the symlink '{}'", resolved));
    target.resize(static_cast<std::size_t>(n));
    return target;
}

void HostFiles::take_one(const std::string& resolved, const struct stat& st) {
    const auto [it, fresh] = files_.try_emplace(resolved.substr(1));
    if (!fresh) return;
    HostFile& file = it->second;
    file.entry.path = it->first;
    Inode& inode = file.entry.inode;
    inode = inode_from(st, {});
    // Everything is root's in the image. A set-id bit of another owner would there be root's, too.
    if (inode.uid != 0) inode.mode &= static_cast<std::uint16_t>(~S_ISUID);
    if (inode.gid != 0 && !S_ISDIR(st.st_mode)) inode.mode &= static_cast<std::uint16_t>(~S_ISGID);
    inode.uid = inode.gid = 0;
    if (S_ISDIR(st.st_mode)) inode.mtime = {};
    if (S_ISLNK(st.st_mode)) inode.link_target = read_symlink(resolved);
    if (S_ISREG(st.st_mode)) {
        inode.size = static_cast<std::uint64_t>(st.st_size);
        file.source = resolved;
        const RootDir::Parent parent = root_.parent(resolved);
        if (const auto capability =
                read_xattr_at(parent.directory.get(), parent.name, "security.capability")) {
            inode.xattrs = {{"security.capability", *capability}};
        }
    }
}

void HostFiles::make_directory(const std::string& path, unsigned mode) {
    const auto [it, fresh] = files_.try_emplace(path.substr(1));
    if (!fresh) return;
    it->second.entry.path = it->first;
    it->second.entry.inode.type = FileType::directory;
    it->second.entry.inode.mode = static_cast<std::uint16_t>(mode);
}

void HostFiles::make_file(const std::string& path, std::string content) {
    const auto [it, fresh] = files_.try_emplace(path.substr(1));
    if (!fresh) return;
    it->second.entry.path = it->first;
    it->second.entry.inode.size = content.size();
    it->second.content = std::move(content);
}

std::vector<HostFile> HostFiles::release() {
    std::vector<HostFile> all;
    all.reserve(files_.size());
    for (auto& [path, file] : files_) all.push_back(std::move(file));
    files_.clear();
    return all;
}

}  // namespace surcoat
