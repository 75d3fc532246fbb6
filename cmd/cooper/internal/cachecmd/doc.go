// Package cachecmd has the verbs for what builds keep for later ones, below cache.
package cachecmd
