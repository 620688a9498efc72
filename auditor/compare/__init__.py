"""Two reports beside one another: what differs in how they were made, row by row what they say."""
