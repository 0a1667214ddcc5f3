#include "layers/diff.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>
#include <unordered_map>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/erofs.h"

// An upper says how it differs from what lies below in five ways (Documentation/filesystems/overlayfs.rst):
//
//   whiteout   character device 0:0, or an empty file with "whiteout": the name is gone
//   opaque     "y" on a directory: nothing of the lower one shows ("x" only announces whiteouts of the second
//   kind) redirect   on a directory: it merges with the lower one at that path ("/…" from the root, else a
//   sibling's
//              name); on a metacopy file: where its content is
//   metacopy   the file's attributes are here, its content is still below
//   nlink      the file was copied up from a lower one with several names, with index=on. The other names
//   follow
//              it although the upper does not mention them: the kernel finds it in work/index under the lower
//              inode's file handle ("origin").

namespace surcoat {
namespace {

using Node = Tree::Node;
using Attributes = std::vector<std::pair<std::string, std::string>>;

/// Directories held open at once; those further up are closed and found again by "..".
constexpr std::size_t kOpenDirectories = 64;
constexpr std::size_t kLinkTargetMax = 4095;
constexpr std::size_t kMaxDepth = 4096;  // as normalise_path

struct Dismantler {
    Node& node;
    ~Dismantler() { Tree::dismantle(node); }
};

struct FileKey {
    dev_t device;
    ino_t inode;
    bool operator==(const FileKey&) const = default;
};
struct FileKeyHash {
    std::size_t operator()(const FileKey& key) const noexcept {
        return key.inode * 0x9E3779B97F4A7C15u ^ key.device;
    }
};

/// What overlayfs wrote on an entry, taken apart from the entry's own attributes.
struct OverlayMarks {
    std::string opaque;
    std::optional<std::string> redirect, metacopy, origin, nlink, whiteout;
};

OverlayMarks take_marks(Attributes& attributes, OverlayNamespace space) {
    OverlayMarks marks;
    const std::string_view prefix = overlay_prefix(space);
    for (const auto& [name, value] : attributes) {
        if (!name.starts_with(prefix)) continue;
        const std::string_view mark = std::string_view(name).substr(prefix.size());
        if (mark == "opaque") marks.opaque = value;
        if (mark == "redirect") marks.redirect = value;
        if (mark == "metacopy") marks.metacopy = value;
        if (mark == "origin") marks.origin = value;
        if (mark == "nlink") marks.nlink = value;
        if (mark == "whiteout") marks.whiteout = value;
    }
    std::erase_if(attributes, [](const auto& attribute) { return is_overlay_xattr(attribute.first); });
    return marks;
}

FileType type_of(mode_t mode) {
    if (S_ISDIR(mode)) return FileType::directory;
    if (S_ISLNK(mode)) return FileType::symlink;
    if (S_ISCHR(mode)) return FileType::char_device;
    if (S_ISBLK(mode)) return FileType::block_device;
    if (S_ISFIFO(mode)) return FileType::fifo;
    return FileType::regular;
}

struct stat stat_at(int directory, const std::string& name) {
    struct stat st;
    if (::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
        throw_errno(fmt::format("look at '{}'", printable(name)));
    return st;
}

std::string read_link_at(int directory, const std::string& name) {
    std::string target(kLinkTargetMax + 1, '\0');
    const ssize_t size = ::readlinkat(directory, name.c_str(), target.data(), target.size());
    if (size < 0) throw_errno(fmt::format("read the symlink '{}'", printable(name)));
    target.resize(static_cast<std::size_t>(size));
    return target;
}

UniqueFd open_directory_at(int directory, const char* name) {
    UniqueFd fd(::openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) throw_errno(fmt::format("open the directory '{}'", printable(name)));
    return fd;
}

const Node* child_of(const Node* directory, std::string_view name) {
    if (directory == nullptr) return nullptr;
    const auto child = directory->children.find(name);
    return child == directory->children.end() ? nullptr : &child->second;
}

const Node* only_directory(const Node* node) {
    return node != nullptr && node->is_directory() ? node : nullptr;
}

std::optional<std::string> from_hex(std::string_view hex) {
    const auto digit = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    std::string bytes;
    if (hex.size() % 2 != 0) return std::nullopt;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        if (digit(hex[i]) < 0 || digit(hex[i + 1]) < 0) return std::nullopt;
        bytes += static_cast<char>(digit(hex[i]) << 4 | digit(hex[i + 1]));
    }
    return bytes;
}

class UpperMerge {
  public:
    UpperMerge(const Tree& lower, const UpperFormat& format, const StoreContent& store)
        : lower_(lower), format_(format), store_(store) {}

    Tree merge(const RootDir& upper) {
        if (format_.index != nullptr && format_.origin) read_index(*format_.index);
        Node root;
        const Dismantler whatever_happens{root};
        merge_directories(upper, root);
        if (!replaced_.empty()) follow_changed_hardlinks(root);
        return Tree(std::move(root));
    }

  private:
    /// One directory of the upper on the way from the root to where the walk is.
    struct Level {
        UniqueFd fd;
        FileKey key;
        std::string name;
        const Node* lower;  // what it merges with; null if nothing
        Node* out;
        std::vector<std::string> subdirectories;  // still to be entered, last first
    };

    void merge_directories(const RootDir& upper, Node& root) {
        enter(open_directory_at(upper.fd(), "."), "", &lower_.root(), root);
        while (!levels_.empty()) {
            Level& level = levels_.back();
            if (level.subdirectories.empty()) {
                leave();
                continue;
            }
            const std::string name = std::move(level.subdirectories.back());
            level.subdirectories.pop_back();
            doing_at(name, [&] {
                UniqueFd fd = open_directory_at(level.fd.get(), name.c_str());
                Node& out = level.out->children[name];
                enter(std::move(fd), name, level.lower, out);
            });
        }
    }

    /// `beside`: for the root, what it merges with; else the lower directory that its parent merges with.
    void enter(UniqueFd fd, const std::string& name, const Node* beside, Node& out) {
        if (levels_.size() > kMaxDepth) {
            throw Error(Errc::unsupported, fmt::format("more than {} levels of directories", kMaxDepth))
                .hint("no layer can hold a path this deep: remove or move the directory, then try again");
        }
        const struct stat st = stat_fd(fd.get());
        Inode inode = attributes_of(st);
        inode.xattrs = read_xattrs(fd.get());
        const OverlayMarks marks = take_marks(inode.xattrs, format_.space);
        const Node* lower = beside;
        if (!levels_.empty()) {
            lower =
                only_directory(marks.redirect ? redirected(*marks.redirect, beside) : child_of(beside, name));
            if (marks.opaque == "y") lower = nullptr;
            if (levels_.size() >= kOpenDirectories) levels_[levels_.size() - kOpenDirectories].fd.reset();
        }
        out.inode = std::make_shared<const Inode>(std::move(inode));
        levels_.push_back({std::move(fd), {st.st_dev, st.st_ino}, name, lower, &out, {}});
        merge_names();
    }

    /// Fills the level that was entered last, all but its subdirectories.
    void merge_names() {
        Level& level = levels_.back();
        const std::vector<std::string> names = list_directory(level.fd.get());
        if (level.lower != nullptr) {
            auto name = names.begin();
            for (const auto& [lower_name, node] : level.lower->children) {
                while (name != names.end() && *name < lower_name) ++name;
                if (name != names.end() && *name == lower_name) continue;
                level.out->children.emplace_hint(level.out->children.end(), lower_name, Tree::copy(node));
            }
        }
        for (const std::string& name : names) {
            doing_at(name, [&] { merge_name(level, name); });
        }
        std::reverse(level.subdirectories.begin(), level.subdirectories.end());
    }

    void merge_name(Level& level, const std::string& name) {
        const struct stat st = stat_at(level.fd.get(), name);
        if (is_overlay_whiteout(st) || S_ISSOCK(st.st_mode)) return;
        if (name.starts_with(".wh.")) {
            throw Error(Errc::unsupported,
                        "names that begin with '.wh.' cannot be written to an image layer: there they "
                        "stand for removed files")
                .hint("rename or remove the file, then try again");
        }
        if (S_ISDIR(st.st_mode)) {
            level.subdirectories.push_back(name);
        } else if (auto inode = file(level, name, st)) {
            level.out->children.emplace(name, Node{std::move(inode), {}});
        }
    }

    void leave() {
        Level left = std::move(levels_.back());
        levels_.pop_back();
        if (levels_.empty() || levels_.back().fd) return;
        Level& parent = levels_.back();
        parent.fd = open_directory_at(left.fd.get(), "..");
        const struct stat st = stat_fd(parent.fd.get());
        if (parent.key != FileKey{st.st_dev, st.st_ino}) {
            throw Error(Errc::conflict,
                        fmt::format("'{}' was moved while it was being read", printable(path_of(left.name))))
                .hint("stop or pause the container, then try again");
        }
    }

    /// Null for a whiteout.
    std::shared_ptr<const Inode> file(const Level& level, const std::string& name, const struct stat& st) {
        const FileKey key{st.st_dev, st.st_ino};
        if (st.st_nlink > 1) {
            if (const auto known = hardlinks_.find(key); known != hardlinks_.end()) return known->second;
        }
        Inode inode = attributes_of(st);
        inode.xattrs = read_xattrs_at(level.fd.get(), name);
        const OverlayMarks marks = take_marks(inode.xattrs, format_.space);
        if (marks.whiteout && S_ISREG(st.st_mode) && st.st_size == 0) return nullptr;
        const Node* below =
            marks.redirect ? redirected(*marks.redirect, level.lower) : child_of(level.lower, name);
        std::shared_ptr<const Inode> origin;
        if (marks.nlink) {
            if (format_.origin && marks.origin) origin = format_.origin(*marks.origin);
            const bool alike = below != nullptr && below->inode->type == inode.type && !marks.redirect;
            if (!origin && alike) origin = below->inode;
        }
        fill(inode, level.fd.get(), name, st, marks,
             origin             ? origin
             : below != nullptr ? below->inode
                                : nullptr);
        auto made = std::make_shared<const Inode>(std::move(inode));
        if (st.st_nlink > 1) hardlinks_.emplace(key, made);
        if (origin) replaced_.emplace(origin.get(), made);
        return made;
    }

    /// The content of a file, the target of a symlink, the number of a device.
    void fill(Inode& inode, int directory, const std::string& name, const struct stat& st,
              const OverlayMarks& marks, const std::shared_ptr<const Inode>& below) {
        switch (inode.type) {
            case FileType::symlink:
                inode.link_target = read_link_at(directory, name);
                break;
            case FileType::char_device:
            case FileType::block_device:
                inode.device_major = major(st.st_rdev);
                inode.device_minor = minor(st.st_rdev);
                break;
            case FileType::regular:
                inode.size = static_cast<std::uint64_t>(st.st_size);
                if (marks.metacopy) {
                    if (!below || below->type != FileType::regular || below->size != inode.size) {
                        throw Error(
                            Errc::corrupt,
                            fmt::format("its content ({} bytes) should still be in the layers below, at "
                                        "'{}', but it is not",
                                        inode.size, printable(marks.redirect.value_or("the same path"))))
                            .hint("the writable layer belongs to other lower layers than these");
                    }
                    inode.object = below->object;
                } else if (inode.size != 0) {
                    inode.object = content(directory, name, st);
                }
                break;
            case FileType::directory:
            case FileType::fifo:
                break;
        }
    }

    ObjectId content(int directory, const std::string& name, const struct stat& st) {
        // O_NONBLOCK: should a fifo have taken its place, we must not hang before we see it.
        const UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
        if (!fd) throw_errno("open it");
        const struct stat now = stat_fd(fd.get());
        if (now.st_ino != st.st_ino || now.st_dev != st.st_dev || now.st_size != st.st_size) {
            throw Error(Errc::conflict, "it changed while it was being read")
                .hint("stop or pause the container, then try again");
        }
        return store_(fd.get(), static_cast<std::uint64_t>(st.st_size));
    }

    const Node* redirected(const std::string& redirect, const Node* beside) const {
        if (redirect.starts_with('/')) return lower_.find(std::string_view(redirect).substr(1));
        return child_of(beside, redirect);
    }

    /// Changed files with several lower names, whichever of them the upper still has.
    void read_index(const RootDir& index) {
        const UniqueFd directory = open_directory_at(index.fd(), ".");
        for (const std::string& name : list_directory(directory.get())) {
            const struct stat st = stat_at(directory.get(), name);
            const auto handle = from_hex(name);
            // Whiteouts stand for files that are gone for good; directories are for NFS.
            if (!handle || S_ISDIR(st.st_mode) || S_ISSOCK(st.st_mode) || is_overlay_whiteout(st)) continue;
            const auto origin = format_.origin(*handle);
            if (!origin) continue;
            doing(fmt::format("the changed hardlink '{}' in the index", name), [&] {
                Inode inode = attributes_of(st);
                inode.xattrs = read_xattrs_at(directory.get(), name);
                const OverlayMarks marks = take_marks(inode.xattrs, format_.space);
                fill(inode, directory.get(), name, st, marks, origin);
                auto made = std::make_shared<const Inode>(std::move(inode));
                hardlinks_.emplace(FileKey{st.st_dev, st.st_ino}, made);
                replaced_.emplace(origin.get(), std::move(made));
            });
        }
    }

    void follow_changed_hardlinks(Node& root) const {
        std::vector<Node*> pending{&root};
        while (!pending.empty()) {
            Node* directory = pending.back();
            pending.pop_back();
            for (auto& [name, node] : directory->children) {
                if (node.is_directory()) {
                    pending.push_back(&node);
                } else if (const auto found = replaced_.find(node.inode.get()); found != replaced_.end()) {
                    node.inode = found->second;
                }
            }
        }
    }

    Inode attributes_of(const struct stat& st) const {
        Inode inode;
        inode.type = type_of(st.st_mode);
        inode.mode = static_cast<std::uint16_t>(st.st_mode & 07777);
        inode.uid = st.st_uid;
        inode.gid = st.st_gid;
        if (format_.owner) std::tie(inode.uid, inode.gid) = format_.owner(st.st_uid, st.st_gid);
        inode.mtime = {st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)};
        return inode;
    }

    std::string path_of(const std::string& name) const {
        std::string path;
        for (const Level& level : levels_) path += level.name + "/";
        return path + name;
    }
    template <typename Body>
    void doing_at(const std::string& name, Body&& body) {
        const std::size_t depth = levels_.size();
        try {
            body();
        } catch (Error& e) {
            // What lies beneath has told the whole path already.
            if (levels_.size() == depth)
                e.within(fmt::format("'{}' in the writable layer", printable(path_of(name))));
            throw;
        }
    }

    const Tree& lower_;
    const UpperFormat& format_;
    const StoreContent& store_;
    std::vector<Level> levels_;
    std::unordered_map<FileKey, std::shared_ptr<const Inode>, FileKeyHash> hardlinks_;
    std::unordered_map<const Inode*, std::shared_ptr<const Inode>>
        replaced_;  // lower inode -> what it is now
};

/// What docker looks at: a directory's time changes with its names, and those are told themselves.
bool differs(const Inode& before, const Inode& after) {
    if (&before == &after || before == after) return false;
    if (before.type != FileType::directory || after.type != FileType::directory) return true;
    Inode timeless = before;
    timeless.mtime = after.mtime;
    return timeless != after;
}

}  // namespace

std::function<std::shared_ptr<const Inode>(std::string_view)> erofs_origins(
    const Tree& view, const std::array<std::byte, 16>& uuid) {
    // struct ovl_fb (fs/overlayfs/overlayfs.h): version, magic 0xfb, whole length, flags, type of the file
    // handle, uuid of the file system, file handle. EROFS' handle is its inode number in one word, or, in newer
    // kernels, in two with the upper one first; then the generation, which is 0.
    constexpr std::size_t kHeader = 21;
    constexpr unsigned kInode32 = 0x01, kInode64 = 0x81;
    auto numbers = std::make_shared<const std::unordered_map<std::uint64_t, std::shared_ptr<const Inode>>>(
        erofs_inode_numbers(view));
    return [numbers, uuid](std::string_view handle) -> std::shared_ptr<const Inode> {
        const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(handle[at]); };
        if (handle.size() < kHeader + 4 || byte(1) != 0xfb || byte(2) != handle.size()) return nullptr;
        if (std::memcmp(handle.data() + 5, uuid.data(), uuid.size()) != 0) return nullptr;
        const auto word = [&](std::size_t at) {
            std::uint32_t value;  // in the machine's own byte order
            std::memcpy(&value, handle.data() + at, sizeof value);
            return std::uint64_t{value};
        };
        std::uint64_t number = 0;
        if (byte(4) == kInode32) {
            number = word(kHeader);
        } else if (byte(4) == kInode64 && handle.size() >= kHeader + 8) {
            number = word(kHeader) << 32 | word(kHeader + 4);
        }
        const auto found = numbers->find(number);
        return found == numbers->end() ? nullptr : found->second;
    };
}

Tree merge_upper(const RootDir& upper, const Tree& lower, const UpperFormat& format,
                 const StoreContent& store) {
    return UpperMerge(lower, format, store).merge(upper);
}

std::vector<Change> list_changes(const Tree& before, const Tree& after) {
    std::map<std::string, Change::Kind> changes;
    walk_together(before, after, [&](const std::string& path, const Node* old, const Node& now) {
        const std::string shown = path.empty() ? "" : "/" + path;
        if (old == nullptr) {
            changes.emplace(shown, Change::Kind::added);
        } else if (!path.empty() && differs(*old->inode, *now.inode)) {
            changes.emplace(shown, Change::Kind::changed);
        }
        if (old == nullptr || !now.is_directory()) return;
        for (const auto& [name, gone] : old->children) {
            if (child_of(&now, name) == nullptr) changes.emplace(shown + "/" + name, Change::Kind::deleted);
        }
    });
    std::vector<std::string> paths;
    paths.reserve(changes.size());
    for (const auto& [path, kind] : changes) paths.push_back(path);
    for (std::string path : paths) {
        for (std::size_t slash = path.rfind('/'); slash != 0 && slash != path.npos; slash = path.rfind('/')) {
            path.resize(slash);
            if (!changes.emplace(path, Change::Kind::changed).second) break;
        }
    }
    std::vector<Change> listed;
    listed.reserve(changes.size());
    for (auto& [path, kind] : changes) listed.push_back({kind, path});
    return listed;
}

}  // namespace surcoat
