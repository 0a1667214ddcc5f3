#include "overlay/library_upper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "layers/base/file.h"
#include "overlay/upper.h"

namespace surcoat::overlay {
namespace {

/// A directory's times as they were when this was made, put back when it goes: copying an entry up is not a
/// change of its directory.
class KeepTimes {
  public:
    explicit KeepTimes(int directory) : directory_(directory) {
        struct stat st {};
        if (::fstat(directory, &st) != 0) throw_errno("look at a directory of the upper");
        times_ = {st.st_atim, st.st_mtim};
    }
    ~KeepTimes() { ::futimens(directory_, times_.data()); }
    KeepTimes(const KeepTimes&) = delete;
    KeepTimes& operator=(const KeepTimes&) = delete;

  private:
    int directory_;
    std::array<timespec, 2> times_{};
};

int rename_at(int from, const std::string& name, int to, const std::string& new_name, unsigned flags) {
    return ::renameat2(from, name.c_str(), to, new_name.c_str(), flags);
}

mode_t node_type(FileType type) {
    if (type == FileType::fifo) return S_IFIFO;
    return type == FileType::char_device ? S_IFCHR : S_IFBLK;
}

}  // namespace

UpperWriter::UpperWriter(LayerStack& layers, const UpperLayer& upper) : layers_(layers) {
    // A place of our own, so that the kernel's "work" beside it and ours never meet.
    work_path_ = upper.work / "library";
    make_directories(work_path_, 0700);
    work_ = open_file(work_path_, O_RDONLY | O_DIRECTORY);
    for (const std::string& left : list_directory(work_.get())) remove_tree(work_path_ / left);  // of a killed process
}

std::string UpperWriter::temporary() { return fmt::format("#{:x}", counter_++); }

void UpperWriter::discard(const std::string& temporary_name) { remove_tree(work_path_ / temporary_name); }

bool UpperWriter::lower_has(const std::shared_ptr<MergedDirectory>& directory, const std::string& name) const {
    return layers_.lookup(directory, name, 1).has_value();
}

bool UpperWriter::in_upper(int directory, const std::string& name) const {
    struct stat st {};
    return ::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void UpperWriter::set_mark(int directory, const std::string& name, std::string_view mark, std::string_view value) {
    write_xattr_at(directory, name, layers_.mark(mark), value);
}

std::string UpperWriter::make_whiteout() {
    std::string name = temporary();
    if (::mknodat(work_.get(), name.c_str(), S_IFCHR, makedev(0, 0)) == 0) return name;
    throw_errno("make a whiteout (character device 0:0) in the upper");
}

// Puts a finished entry at its name, over a whiteout or an entry that it replaces.
void UpperWriter::install(const std::string& temporary_name, int directory, const std::string& name) {
    if (rename_at(work_.get(), temporary_name, directory, name, RENAME_NOREPLACE) == 0) return;
    if (errno != EEXIST) throw_errno(fmt::format("put '{}' into the upper", name));
    if (rename_at(work_.get(), temporary_name, directory, name, RENAME_EXCHANGE) != 0) {
        throw_errno(fmt::format("put '{}' into the upper", name));
    }
    discard(temporary_name);
}

int UpperWriter::ensure_directory(const std::shared_ptr<MergedDirectory>& directory) {
    if (directory->upper() != nullptr) return directory->upper()->get();
    const int above = ensure_directory(directory->parent);
    int fd = ::openat(above, directory->name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        Found found;
        found.directory = directory;
        const Inode inode = layers_.inode(found);
        const std::string made = temporary();
        if (::mkdirat(work_.get(), made.c_str(), 0700) != 0) throw_errno("copy a directory up");
        apply_attributes(work_.get(), made, inode);
        const KeepTimes keep(above);
        install(made, above, directory->name);
        fd = ::openat(above, directory->name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) throw_errno("open a directory that was copied up");
    }
    directory->parts.insert(directory->parts.begin(), {0, std::make_shared<const UniqueFd>(UniqueFd(fd)), nullptr});
    return fd;
}

// Content, then attributes: writing would clear setuid and capabilities.
void UpperWriter::fill(const std::string& name, const Found& found, CopyUp how) {
    const Inode inode = layers_.inode(found);
    switch (inode.type) {
        case FileType::regular: {
            const UniqueFd to = open_file_at(work_.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
            if (how == CopyUp::without_content) break;
            const UniqueFd from = layers_.open_content(found);
            copy_contents(from.get(), to.get(), inode.size);
            break;
        }
        case FileType::symlink:
            if (::symlinkat(inode.link_target.c_str(), work_.get(), name.c_str()) != 0) throw_errno("copy a symlink up");
            break;
        default: {
            const dev_t device = makedev(inode.device_major, inode.device_minor);
            if (::mknodat(work_.get(), name.c_str(), node_type(inode.type) | 0600, device) != 0) throw_errno("copy a node up");
        }
    }
    apply_attributes(work_.get(), name, inode);
}

// In place: the attributes are here already, and its other names must go on being it.
void UpperWriter::complete(const Found& found, CopyUp how) {
    const UniqueFd to = open_file_at(found.holder->get(), found.name, O_WRONLY | O_NOFOLLOW);
    const KeepTimes keep(to.get());
    if (how == CopyUp::complete) {
        const UniqueFd from = layers_.open_content(found);
        copy_contents(from.get(), to.get(), static_cast<std::uint64_t>(found.st.st_size));
    }
    if (::fremovexattr(to.get(), layers_.mark("metacopy").c_str()) != 0) throw_errno("end a metadata-only copy");
    ::fremovexattr(to.get(), layers_.mark("redirect").c_str());  // it may have none
}

UpperWriter::Place UpperWriter::copy_up(const std::shared_ptr<MergedDirectory>& directory, const std::string& name,
                                        const Found& found, CopyUp how) {
    if (found.in_upper()) {
        if (how != CopyUp::attributes && found.content) complete(found, how);
        return {found.holder, found.name};
    }

    std::vector<std::pair<std::shared_ptr<MergedDirectory>, std::string>> names;
    if (layers_.has_other_names(found)) {
        layers_.each_name_of(found, [&](const auto& where, const std::string& what) { names.emplace_back(where, what); });
    } else {
        names.emplace_back(directory, name);
    }
    const std::string made = temporary();
    fill(made, found, how);
    for (const auto& at : names) {
        const int upper = ensure_directory(at.first);
        const KeepTimes keep(upper);
        if (::linkat(work_.get(), made.c_str(), upper, at.second.c_str(), 0) != 0) throw_errno("copy a file up");
    }
    if (::unlinkat(work_.get(), made.c_str(), 0) != 0) throw_errno("copy a file up");
    ensure_directory(directory);
    return {directory->parts.front().fd, name};
}

UpperWriter::Place UpperWriter::copy_up_here(const std::shared_ptr<MergedDirectory>& directory, const std::string& name,
                                             const Found& found) {
    const Place place = copy_up(directory, name, found, CopyUp::attributes);
    if (!found.indexed) return place;
    const int upper = ensure_directory(directory);
    const KeepTimes keep(upper);
    if (::linkat(place.directory->get(), place.name.c_str(), upper, name.c_str(), 0) != 0) throw_errno("copy a file up");
    return {directory->parts.front().fd, name};
}

void UpperWriter::pin_content(const std::shared_ptr<MergedDirectory>& directory, const std::string& name, const Place& place) {
    if (!read_xattr_at(place.directory->get(), place.name, layers_.mark("metacopy").c_str())) return;
    // The kernel writes a sibling's name where a rename stayed in one directory: right only as long as it is there.
    const auto redirect = read_xattr_at(place.directory->get(), place.name, layers_.mark("redirect").c_str());
    if (redirect && redirect->starts_with('/')) return;
    const std::string sibling = redirect.value_or(name);
    const std::string below = directory->lower_path.empty() ? sibling : directory->lower_path + "/" + sibling;
    set_mark(place.directory->get(), place.name, "redirect", "/" + below);
}

void UpperWriter::create(const std::shared_ptr<MergedDirectory>& directory, const std::string& name,
                         const std::function<void(int, const std::string&)>& make) {
    const int upper = ensure_directory(directory);
    if (!in_upper(upper, name)) {
        make(upper, name);
        return;
    }
    const std::string made = temporary();
    make(work_.get(), made);
    // What the directory would have handed down, had it been made there.
    const struct stat parent = stat_fd(upper);
    if ((parent.st_mode & S_ISGID) != 0) {
        ::fchownat(work_.get(), made.c_str(), static_cast<uid_t>(-1), parent.st_gid, AT_SYMLINK_NOFOLLOW);
    }
    install(made, upper, name);
}

void UpperWriter::create_directory(const std::shared_ptr<MergedDirectory>& directory, const std::string& name,
                                   std::uint16_t mode) {
    const bool hides = lower_has(directory, name);
    create(directory, name, [&](int where, const std::string& as) {
        if (::mkdirat(where, as.c_str(), 0700) != 0) throw_errno("make a directory in the upper");
        if (::fchmodat(where, as.c_str(), mode, 0) != 0) throw_errno("set a directory's mode in the upper");
        if (hides) set_mark(where, as, "opaque", "y");
    });
}

void UpperWriter::whiteout_if_needed(const std::shared_ptr<MergedDirectory>& directory, const std::string& name) {
    if (!lower_has(directory, name)) return;
    install(make_whiteout(), ensure_directory(directory), name);
}

void UpperWriter::remove(const std::shared_ptr<MergedDirectory>& directory, const std::string& name) {
    if (lower_has(directory, name)) {
        install(make_whiteout(), ensure_directory(directory), name);
        return;
    }
    const int upper = ensure_directory(directory);
    const std::string gone = temporary();
    if (rename_at(upper, name, work_.get(), gone, RENAME_NOREPLACE) != 0) throw_errno("take an entry out of the upper");
    discard(gone);
}

void UpperWriter::move_file(const std::shared_ptr<MergedDirectory>& from, const std::string& name,
                            const std::shared_ptr<MergedDirectory>& to, const std::string& new_name, const Found& found) {
    const Place place = copy_up_here(from, name, found);
    pin_content(from, name, place);
    const int target = ensure_directory(to);
    if (lower_has(from, name)) {
        if (rename_at(place.directory->get(), name, target, new_name, RENAME_WHITEOUT) == 0) return;
        if (errno != EINVAL && errno != EPERM) throw_errno("rename in the upper");
    }
    if (rename_at(place.directory->get(), name, target, new_name, 0) != 0) throw_errno("rename in the upper");
    whiteout_if_needed(from, name);
}

void UpperWriter::move_directory(const Found& found, const std::shared_ptr<MergedDirectory>& to, const std::string& new_name) {
    const std::shared_ptr<MergedDirectory>& moved = found.directory;
    const std::shared_ptr<MergedDirectory>& from = moved->parent;
    if (moved->has_lower()) {
        if (layers_.space() == OverlayNamespace::user) throw os_error("move a directory of the image in the upper", EXDEV);
        const int upper = ensure_directory(moved);
        set_mark(upper, ".", "redirect", "/" + moved->lower_path);
    } else if (lower_has(to, new_name)) {
        set_mark(ensure_directory(moved), ".", "opaque", "y");
    }
    const int source = ensure_directory(from);
    const int target = ensure_directory(to);
    const bool leaves_lower = lower_has(from, moved->name);
    if (in_upper(target, new_name)) {
        // A whiteout, or the upper's part of the empty directory that is replaced: it changes places with us …
        if (rename_at(source, moved->name, target, new_name, RENAME_EXCHANGE) != 0) throw_errno("rename in the upper");
        if (leaves_lower) {
            install(make_whiteout(), source, moved->name);
        } else {  // … and goes.
            const std::string gone = temporary();
            if (rename_at(source, moved->name, work_.get(), gone, RENAME_NOREPLACE) != 0) throw_errno("rename in the upper");
            discard(gone);
        }
        return;
    }
    if (leaves_lower) {
        if (rename_at(source, moved->name, target, new_name, RENAME_WHITEOUT) == 0) return;
        if (errno != EINVAL && errno != EPERM) throw_errno("rename in the upper");
    }
    if (rename_at(source, moved->name, target, new_name, 0) != 0) throw_errno("rename in the upper");
    if (leaves_lower) install(make_whiteout(), source, moved->name);
}

}  // namespace surcoat::overlay
