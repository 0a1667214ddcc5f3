// Views are caches: a file or directory of this name, once it is there, is whole. Its maker writes beside it
// ("….new") under the byte lock of its name in lock/views, so that nothing is made twice, and renames.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <unordered_map>
#include <vector>

#include "layers/base/error.h"
#include "layers/base/fault.h"
#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "layers/erofs.h"
#include "layers/store/store_state.h"

namespace surcoat {
namespace {

/// gc keeps a view that was asked for since the oldest running job began; it reads this time.
void touch(const std::filesystem::path& view) {
    ::utimensat(AT_FDCWD, view.c_str(), nullptr, 0);
}

class BufferedFdSink final : public ByteSink {
  public:
    explicit BufferedFdSink(int fd) : fd_(fd) {}
    void write(ByteSpan bytes) override {
        buffer_.append(as_text(bytes));
        if (buffer_.size() >= kLimit) flush();
    }
    void flush() {
        write_full(fd_, as_bytes(buffer_));
        buffer_.clear();
    }

  private:
    static constexpr std::size_t kLimit = 1 << 18;
    int fd_;
    std::string buffer_;
};

std::array<std::byte, 16> view_uuid(const std::string& key) {
    std::array<std::byte, 16> uuid{};
    const ObjectId hash = ObjectId::parse_hex(key);
    std::copy_n(hash.hash.begin(), uuid.size(), uuid.begin());
    return uuid;
}

/// Writes a merged tree as a directory: one inode a file, no content. One descriptor is open at a time
/// however deep the tree is: the way back up is "..", which nobody else can move in a directory that only we
/// know.
class DirectoryWriter {
  public:
    explicit DirectoryWriter(const std::filesystem::path& root)
        : root_(open_file(root, O_RDONLY | O_DIRECTORY)) {}

    void write(const Tree& tree) {
        struct Level {
            const Tree::Node* node;
            std::map<std::string, Tree::Node, std::less<>>::const_iterator next;
            std::string path;
        };
        UniqueFd here = open_file_at(root_.get(), ".", O_RDONLY | O_DIRECTORY);
        std::vector<Level> levels;
        levels.push_back({&tree.root(), tree.root().children.begin(), ""});
        while (!levels.empty()) {
            Level& level = levels.back();
            if (level.next == level.node->children.end()) {
                finish(here.get(), *level.node->inode);
                levels.pop_back();
                if (!levels.empty()) here = open_file_at(here.get(), "..", O_RDONLY | O_DIRECTORY);
                continue;
            }
            const std::string& name = level.next->first;
            const Tree::Node& child = level.next->second;
            ++level.next;
            std::string path = level.path.empty() ? name : level.path + "/" + name;
            doing(fmt::format("cannot make the view's '{}'", path), [&] {
                if (!child.is_directory()) {
                    make(here.get(), name, child, path);
                    return;
                }
                if (::mkdirat(here.get(), name.c_str(), 0700) != 0) throw_errno("create a directory");
                here = open_file_at(here.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
                levels.push_back({&child, child.children.begin(), std::move(path)});
            });
        }
    }

  private:
    void make(int directory, const std::string& name, const Tree::Node& node, const std::string& path) {
        const Inode& inode = *node.inode;
        // Hardlinks share one Inode: the second name is a link to the first.
        if (const auto seen = first_names_.find(node.inode.get()); seen != first_names_.end()) {
            if (::linkat(root_.get(), seen->second.c_str(), directory, name.c_str(), 0) != 0)
                throw_errno("create a hardlink");
            return;
        }
        if (node.inode.use_count() > 1) first_names_.emplace(node.inode.get(), path);
        switch (inode.type) {
            case FileType::regular: {
                const UniqueFd file =
                    open_file_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
                if (::ftruncate(file.get(), static_cast<off_t>(inode.size)) != 0)
                    throw_errno("set a file's size");
                if (inode.object) {
                    attribute(file.get(), "user.overlay.metacopy", "", true);
                    attribute(file.get(), "user.overlay.redirect", object_redirect(*inode.object), true);
                }
                finish(file.get(), inode);
                return;
            }
            case FileType::symlink:
                if (::symlinkat(inode.link_target.c_str(), directory, name.c_str()) != 0)
                    throw_errno("create a symlink");
                break;
            case FileType::fifo:
                if (::mkfifoat(directory, name.c_str(), 0600) != 0) throw_errno("create a fifo");
                break;
            default: {
                // A user namespace may not make devices. Containers bring their own /dev.
                const mode_t kind = inode.type == FileType::char_device ? S_IFCHR : S_IFBLK;
                const dev_t device = ::makedev(inode.device_major, inode.device_minor);
                if (::mknodat(directory, name.c_str(), kind | 0600, device) != 0) {
                    if (errno == EPERM) return;
                    throw_errno("create a device");
                }
            }
        }
        finish_at(directory, name, inode);
    }

    static void attribute(int fd, const std::string& name, std::string_view value, bool required) {
        if (::fsetxattr(fd, name.c_str(), value.data() != nullptr ? value.data() : "", value.size(), 0) == 0)
            return;
        if (!required && (errno == EPERM || errno == EOPNOTSUPP || errno == EACCES || errno == EINVAL))
            return;
        throw_errno(fmt::format("set the attribute {}", name));
    }

    // Owners before modes (chown clears setuid), attributes after owners (it clears capabilities too), times
    // last. An owner that this user namespace does not map stays ours.
    static void finish(int fd, const Inode& inode) {
        if (::fchown(fd, inode.uid, inode.gid) != 0 && errno != EPERM && errno != EINVAL)
            throw_errno("set the owner");
        for (const auto& [name, value] : inode.xattrs) attribute(fd, name, value, false);
        if (::fchmod(fd, inode.mode) != 0 && errno != EPERM) throw_errno("set the mode");
        const timespec times[2] = {{0, UTIME_OMIT},
                                   {inode.mtime.seconds, static_cast<long>(inode.mtime.nanoseconds)}};
        if (::futimens(fd, times) != 0 && errno != EINVAL) throw_errno("set the time");
    }
    static void finish_at(int directory, const std::string& name, const Inode& inode) {
        if (::fchownat(directory, name.c_str(), inode.uid, inode.gid, AT_SYMLINK_NOFOLLOW) != 0 &&
            errno != EPERM && errno != EINVAL) {
            throw_errno("set the owner");
        }
        if (inode.type != FileType::symlink && ::fchmodat(directory, name.c_str(), inode.mode, 0) != 0)
            throw_errno("set the mode");
        const timespec times[2] = {{0, UTIME_OMIT},
                                   {inode.mtime.seconds, static_cast<long>(inode.mtime.nanoseconds)}};
        if (::utimensat(directory, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0 && errno != EINVAL)
            throw_errno("set the time");
    }

    UniqueFd root_;
    std::unordered_map<const Inode*, std::string> first_names_;
};

}  // namespace

std::string Store::view_key(std::span<const DiffId> chain) {
    Hasher hasher;
    hasher.update(fmt::format("surcoat view {}\n", kErofsWriterVersion));
    for (const DiffId& layer : chain) hasher.update(layer.str() + "\n");
    return hasher.finish_hex();
}

std::filesystem::path Store::erofs_view(std::span<const DiffId> chain) {
    const std::string key = view_key(chain);
    const std::filesystem::path view = path("views") / (key + ".erofs");
    if (lstat_path(view)) {
        touch(view);
        return view;
    }
    const ByteLock lock(state_->view_locks, key + ".erofs");
    if (lstat_path(view)) return view;  // somebody made it while we waited
    const std::shared_ptr<const Tree> merged = tree(chain);
    const std::filesystem::path made = view.string() + ".new";
    fault_point("view.before_write");
    doing(fmt::format("cannot make the view '{}'", view.string()), [&] {
        try {
            remove_file(made);  // a dead maker's: we hold the lock
            UniqueFd fd = open_file(made, O_WRONLY | O_CREAT | O_EXCL, 0444);
            BufferedFdSink sink(fd.get());
            write_erofs(sink, *merged, view_uuid(key));
            sink.flush();
            fsync_fd(fd.get());
            fd.close();
            fault_point("view.before_rename");
            rename_file(made, view);
        } catch (...) {
            ::unlink(made.c_str());
            throw;
        }
    });
    fsync_directory(path("views"));
    fault_point("view.after_rename");
    return view;
}

std::filesystem::path Store::directory_view(std::span<const DiffId> chain) {
    const std::string key = view_key(chain);
    const std::filesystem::path view = path("views") / (key + ".d");
    const std::filesystem::path stamp = path("views") / (key + ".used");
    if (lstat_path(view)) {
        touch(stamp);
        return view;
    }
    const ByteLock lock(state_->view_locks, key + ".d");
    if (lstat_path(view)) return view;
    const std::shared_ptr<const Tree> merged = tree(chain);
    const std::filesystem::path made = view.string() + ".new";
    remove_tree(made);  // a dead maker's: we hold the lock
    // The directory's own time belongs to the image, so the last use is kept in a file beside it.
    open_file(stamp, O_WRONLY | O_CREAT, 0644).close();
    touch(stamp);
    doing(fmt::format("cannot make the view '{}'", view.string()), [&] {
        try {
            make_directories(made, 0700);
            DirectoryWriter(made).write(*merged);
            // One flush for thousands of inodes: a name must not outlive what it stands for.
            const UniqueFd fd = open_file(path("views"), O_RDONLY | O_DIRECTORY);
            if (state_->options.durability == Durability::full && ::syncfs(fd.get()) != 0)
                throw_errno("make the view durable");
            fault_point("view.before_directory_rename");
            rename_file(made, view);
        } catch (...) {
            remove_tree(made);
            throw;
        }
    });
    fsync_directory(path("views"));
    return view;
}

}  // namespace surcoat
