"""Who is enrolled: the encrypted store, the index over it, enrolment from photos, and their commands."""
