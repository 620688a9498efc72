"""What several tests share: builders, fakes, cases, and the rules of the house."""
