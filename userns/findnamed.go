package userns

import "context"

// FindNamed gives one owner's user ranges and another owner's group ranges, as --subuidname and --subgidname ask for
// them. Errors are those of [Finder.Find].
func (f Finder) FindNamed(ctx context.Context, users, groups User) (SubIDs, error) {
	if users == groups {
		return f.Find(ctx, users)
	}
	source, err := f.source()
	if err != nil {
		return SubIDs{}, err
	}
	if source != "" {
		// ask fails for an owner who has ranges of one kind only, even if only that kind is wanted here. Such an owner is
		// rare, and the error tells what is missing.
		u, err := f.ask(ctx, users, source)
		if err != nil {
			return SubIDs{}, err
		}
		g, err := f.ask(ctx, groups, source)
		return SubIDs{UIDs: u.UIDs, GIDs: g.GIDs}, err
	}

	uids, err := readSubIDs(f.subUID(), users)
	if err != nil {
		return SubIDs{}, err
	}
	if len(uids) == 0 {
		return SubIDs{}, &NoSubIDsError{User: users, UIDs: grant(f.subUID(), subIDCount)}
	}

	gids, err := readSubIDs(f.subGID(), groups)
	if err != nil {
		return SubIDs{}, err
	}
	if len(gids) == 0 {
		return SubIDs{}, &NoSubIDsError{User: groups, GIDs: grant(f.subGID(), subIDCount)}
	}

	return SubIDs{UIDs: uids, GIDs: gids}, nil
}
