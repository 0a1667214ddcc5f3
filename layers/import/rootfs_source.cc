#include "layers/import/rootfs_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "layers/whiteout.h"

namespace surcoat {
namespace {

// The walk keeps the directories above open, at most this many; deeper ones are opened again through "..".
constexpr std::size_t kOpenDirectories = 64;

FileType type_of(mode_t mode) {
    switch (mode & S_IFMT) {
        case S_IFDIR:
            return FileType::directory;
        case S_IFLNK:
            return FileType::symlink;
        case S_IFCHR:
            return FileType::char_device;
        case S_IFBLK:
            return FileType::block_device;
        case S_IFIFO:
            return FileType::fifo;
        default:
            return FileType::regular;
    }
}

class DirectoryWalk {
  public:
    DirectoryWalk(Transaction& transaction, const std::filesystem::path& top, const DirectoryOptions& options)
        : transaction_(transaction), top_(top.string()), options_(options) {}

    ImportedFiles run() {
        UniqueFd fd = open_file(top_, O_RDONLY | O_DIRECTORY);
        const struct stat st = stat_fd(fd.get());
        device_ = st.st_dev;
        if ((st.st_mode & 0005) != 0005) {
            warn(fmt::format(
                "'{}' has mode {:04o}: in the image, users other than its owner will not get into '/'", top_,
                st.st_mode & 07777));
        }
        Entry root;
        root.inode = inode_from(st, read_xattrs(fd.get()));
        add(std::move(root));
        enter(std::move(fd), st);
        while (!stack_.empty()) step();

        DiffId id = transaction_.add_layer(entries_);
        result_.entries = entries_.size();
        return ImportedFiles{std::move(id), result_.entries, result_.content_bytes, result_.newest,
                             result_.skipped};
    }

  private:
    struct Level {
        UniqueFd fd;  ///< empty while too many are open
        dev_t device;
        ino_t inode;
        std::vector<std::string> names;
        std::size_t next = 0;
        std::size_t path_bytes;  ///< length of path_ without this directory's children
    };
    struct Counts {
        std::uint64_t entries = 0;
        std::uint64_t content_bytes = 0;
        std::optional<Timestamp> newest;
        std::uint64_t skipped = 0;
    };

    void enter(UniqueFd fd, const struct stat& st) {
        std::vector<std::string> names =
            doing(fmt::format("cannot list '{}'", shown()), [&] { return list_directory(fd.get()); });
        stack_.push_back({std::move(fd), st.st_dev, st.st_ino, std::move(names), 0, path_.size()});
        if (stack_.size() > kOpenDirectories) stack_[stack_.size() - kOpenDirectories - 1].fd.reset();
    }

    void step() {
        Level& level = stack_.back();
        path_.resize(level.path_bytes);
        if (level.next == level.names.size()) {
            leave();
            return;
        }
        const std::string name = level.names[level.next++];
        if (!path_.empty()) path_ += '/';
        path_ += name;
        const int parent = level.fd.get();
        struct stat st {};
        if (::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
            if (errno == ENOENT) throw changed("it was removed");
            throw_errno(fmt::format("look at '{}'", shown()));
        }
        take(parent, name, st);
    }

    void leave() {
        Level& done = stack_.back();
        if (stack_.size() > 1 && !stack_[stack_.size() - 2].fd) {
            Level& above = stack_[stack_.size() - 2];
            UniqueFd fd = open_file_at(done.fd.get(), "..", O_RDONLY | O_DIRECTORY);
            const struct stat st = stat_fd(fd.get());
            if (st.st_dev != above.device || st.st_ino != above.inode) throw changed("it was moved");
            above.fd = std::move(fd);
        }
        stack_.pop_back();
    }

    void take(int parent, const std::string& name, const struct stat& st) {
        if (S_ISSOCK(st.st_mode)) {
            skip("is a socket");
            return;
        }
        const OciWhiteout whiteout = parse_whiteout_name();
        if (whiteout.kind != OciWhiteout::Kind::none || whiteout.path.empty()) {
            throw Error(
                Errc::unsupported,
                fmt::format("'{}': a name that begins with '.wh.' cannot be part of an image", shown()))
                .hint("OCI layers use such names to say that a file is gone: rename it, or leave it out");
        }
        if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
            const auto [it, first] = linked_.emplace(std::pair(st.st_dev, st.st_ino), path_);
            if (!first) {
                Entry link;
                link.kind = Entry::Kind::hardlink;
                link.target = it->second;
                add(std::move(link));
                return;
            }
        }
        if (S_ISREG(st.st_mode)) {
            take_file(parent, name, st);
        } else if (S_ISDIR(st.st_mode)) {
            take_directory(parent, name, st);
        } else {
            Entry entry;
            entry.inode = inode_from(st, read_xattrs_at(parent, name));
            if (S_ISLNK(st.st_mode)) entry.inode.link_target = read_link(parent, name);
            add(std::move(entry));
        }
    }

    OciWhiteout parse_whiteout_name() const {
        try {
            return parse_oci_whiteout(path_);
        } catch (const Error&) {
            return OciWhiteout{OciWhiteout::Kind::entry, {}};  // ".wh." alone
        }
    }

    void take_file(int parent, const std::string& name, const struct stat& expected) {
        // O_NONBLOCK: should it have become a fifo since, this must not hang.
        const UniqueFd fd = open_child(parent, name, O_RDONLY | O_NONBLOCK);
        const struct stat st = stat_fd(fd.get());
        if (!S_ISREG(st.st_mode) || st.st_ino != expected.st_ino) throw changed("it was replaced");
        Entry entry;
        entry.inode = inode_from(st, read_xattrs(fd.get()));
        entry.inode.size = static_cast<std::uint64_t>(st.st_size);
        if (st.st_size != 0) {
            entry.inode.object = doing(fmt::format("cannot take in '{}'", shown()), [&] {
                return transaction_.add_object_from(fd.get(), entry.inode.size);
            });
        }
        result_.content_bytes += entry.inode.size;
        if (options_.progress != nullptr) options_.progress->bytes(top_, result_.content_bytes, 0);
        add(std::move(entry));
    }

    void take_directory(int parent, const std::string& name, const struct stat& expected) {
        UniqueFd fd = open_child(parent, name, O_RDONLY | O_DIRECTORY);
        const struct stat st = stat_fd(fd.get());
        if (st.st_ino != expected.st_ino && st.st_dev == expected.st_dev) throw changed("it was replaced");
        Entry entry;
        entry.inode = inode_from(st, read_xattrs(fd.get()));
        add(std::move(entry));
        if (st.st_dev != device_ && !options_.cross_filesystems) {
            skip("is on another filesystem: it is an empty directory in the image");
        } else {
            enter(std::move(fd), st);
        }
    }

    UniqueFd open_child(int parent, const std::string& name, int flags) const {
        return doing(fmt::format("cannot take in '{}'", shown()),
                     [&] { return open_file_at(parent, name, flags | O_NOFOLLOW); });
    }

    std::string read_link(int parent, const std::string& name) const {
        std::string target(4096, '\0');
        const ssize_t n = ::readlinkat(parent, name.c_str(), target.data(), target.size());
        if (n < 0) throw_errno(fmt::format("read the symlink '{}'", shown()));
        target.resize(static_cast<std::size_t>(n));
        return target;
    }

    void add(Entry entry) {
        entry.path = path_;
        if (options_.latest) entry.inode.mtime = std::min(entry.inode.mtime, *options_.latest);
        validate_entry(entry);
        if (entry.kind == Entry::Kind::add && (!result_.newest || *result_.newest < entry.inode.mtime)) {
            result_.newest = entry.inode.mtime;
        }
        entries_.push_back(std::move(entry));
    }

    std::string shown() const { return printable(path_.empty() ? top_ : top_ + "/" + path_); }
    void warn(const std::string& text) const {
        if (options_.progress != nullptr) options_.progress->warning(text);
    }
    void skip(std::string_view why) {
        ++result_.skipped;
        warn(fmt::format("'{}' {}", shown(), why));
    }
    Error changed(std::string_view how) const {
        return Error(Errc::conflict, fmt::format("'{}' changed while it was read: {}", shown(), how))
            .hint("try again when nothing writes there any more");
    }

    Transaction& transaction_;
    const std::string top_;
    const DirectoryOptions& options_;
    dev_t device_ = 0;
    std::string path_;
    std::vector<Level> stack_;
    std::map<std::pair<dev_t, ino_t>, std::string> linked_;
    std::vector<Entry> entries_;
    Counts result_;
};

}  // namespace

bool is_portable_xattr(std::string_view name) {
    if (is_overlay_xattr(name)) return false;
    return name.substr(0, 5) == "user." || name == "security.capability" ||
           name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

Inode inode_from(const struct stat& st, std::vector<std::pair<std::string, std::string>> xattrs) {
    Inode inode;
    inode.type = type_of(st.st_mode);
    inode.mode = static_cast<std::uint16_t>(st.st_mode & 07777);
    inode.uid = st.st_uid;
    inode.gid = st.st_gid;
    inode.mtime = {st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)};
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
        inode.device_major = major(st.st_rdev);
        inode.device_minor = minor(st.st_rdev);
    }
    for (auto& attribute : xattrs) {
        if (is_portable_xattr(attribute.first)) inode.xattrs.push_back(std::move(attribute));
    }
    return inode;
}

ImportedFiles import_directory(Transaction& transaction, const std::filesystem::path& directory,
                               const DirectoryOptions& options) {
    return doing(fmt::format("cannot take in directory '{}'", directory.string()),
                 [&] { return DirectoryWalk(transaction, directory, options).run(); });
}

}  // namespace surcoat
