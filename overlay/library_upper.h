#pragma once
#include <functional>
#include <memory>
#include <string>

#include "overlay/library_layers.h"

namespace surcoat::overlay {

/// What a copy-up is for. `attributes`: content as cheap as it comes (a metacopy file in the upper stays one);
/// `complete`: the content will be read and changed in the upper; `without_content`: it is about to be truncated.
enum class CopyUp { attributes, complete, without_content };

/// Changes to an upper in overlayfs' own form: copy-up, whiteouts, opaque and redirected directories. What is
/// made is made complete in the work directory and moved into place where something (a whiteout) lies there
/// already, so that a kill leaves the old entry or the new one. From one thread at a time.
class UpperWriter {
  public:
    UpperWriter(LayerStack& layers, const UpperLayer& upper);

    /// The directory's own directory in the upper, copied up (attributes only) if it has none yet.
    int ensure_directory(const std::shared_ptr<MergedDirectory>& directory);

    /// Where the entry lies in the upper, copied up with its attributes and all its names if it does not yet.
    struct Place {
        std::shared_ptr<const UniqueFd> directory;
        std::string name;
    };
    Place copy_up(const std::shared_ptr<MergedDirectory>& directory, const std::string& name, const Found& found,
                  CopyUp how);
    /// The same, and linked at this very name (an entry of the index is not, before).
    Place copy_up_here(const std::shared_ptr<MergedDirectory>& directory, const std::string& name, const Found& found);

    /// Makes a new entry: `make(directory, name)` makes it there. Whatever whiteout lay at the name is replaced.
    void create(const std::shared_ptr<MergedDirectory>& directory, const std::string& name,
                const std::function<void(int directory, const std::string& name)>& make);
    /// A new directory, opaque where a lower one of that name must not show through.
    void create_directory(const std::shared_ptr<MergedDirectory>& directory, const std::string& name, std::uint16_t mode);

    /// Takes the entry, of any kind and with all that is in it, away.
    void remove(const std::shared_ptr<MergedDirectory>& directory, const std::string& name);

    /// Moves a file (in the upper already) or a directory; the caller has checked that POSIX allows it.
    void move_file(const std::shared_ptr<MergedDirectory>& from, const std::string& name,
                   const std::shared_ptr<MergedDirectory>& to, const std::string& new_name, const Found& found);
    /// Throws EXDEV, as overlayfs does, for a directory of the image where redirects are not allowed.
    void move_directory(const Found& found, const std::shared_ptr<MergedDirectory>& to, const std::string& new_name);

    /// Makes a metacopy file in the upper that is about to leave its place say where its content lies.
    void pin_content(const std::shared_ptr<MergedDirectory>& directory, const std::string& name, const Place& place);

  private:
    std::string temporary();
    bool lower_has(const std::shared_ptr<MergedDirectory>& directory, const std::string& name) const;
    bool in_upper(int directory, const std::string& name) const;
    std::string make_whiteout();
    void install(const std::string& temporary_name, int directory, const std::string& name);
    void discard(const std::string& temporary_name);
    void set_mark(int directory, const std::string& name, std::string_view mark, std::string_view value);
    void fill(const std::string& temporary_name, const Found& found, CopyUp how);
    void complete(const Found& found, CopyUp how);
    void whiteout_if_needed(const std::shared_ptr<MergedDirectory>& directory, const std::string& name);

    LayerStack& layers_;
    UniqueFd work_;  ///< work/library
    std::filesystem::path work_path_;
    unsigned counter_ = 0;
};

}  // namespace surcoat::overlay
